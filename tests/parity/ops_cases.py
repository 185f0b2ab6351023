"""ops_cases - the operations of lib/nn in small networks, for test_ops: operations and activations by number, and the cases

A case is (title, rows as in lib/nn/model/arch.h, height, width), one of TILED ends with its batch. Sizes and channel counts are
odd on purpose.
"""
CONV, DEPTHWISE, LINEAR, MAXPOOL, MEANPOOL, SQUEEZE, SUM, TOKENS, TOKEN, LAYERNORM, ATTENTION, _, SHUFFLE, SLICE = range(14)
NONE, RELU, RELU6, HSWISH, HSIGMOID, SILU, SIGMOID, GELU = range(8)


def stem(act=HSWISH, out=13):
    return (CONV, out, 1, 1, 0, act, 1)


CASES = [
    ("1x1 convolution", [stem(), (CONV, 21, 1, 1, 0, RELU, 1)], 7, 5),
    ("1x1 convolution, stride 2", [stem(), (CONV, 21, 1, 2, 0, NONE, 1)], 7, 5),
    ("1x1 convolution with bias", [stem(), (CONV, 5, 1, 1, 0, RELU, 0)], 7, 5),
    ("3x3 convolution", [stem(), (CONV, 17, 3, 1, 1, HSWISH, 1)], 7, 5),
    ("3x3 convolution without padding", [stem(), (CONV, 17, 3, 1, 0, RELU6, 1)], 7, 5),
    ("3x3 convolution, stride 2", [stem(), (CONV, 17, 3, 2, 1, NONE, 1)], 7, 5),
    ("3x3 convolution of the view, stride 2", [(CONV, 19, 3, 2, 1, HSWISH, 1)], 9, 7),
    ("7x7 convolution of the view, stride 2", [(CONV, 19, 7, 2, 3, RELU, 1)], 19, 23),
    ("5x5 convolution, wide, in bands", [stem(out=150), (CONV, 65, 5, 2, 2, RELU, 1)], 33, 41),
    ("3x3 convolution, in bands", [stem(out=70), (CONV, 130, 3, 1, 1, RELU, 1), (CONV, 30, 1, 1, 0, NONE, 1)], 40, 37),
    ("3x3 convolution of whole images", [stem(HSWISH, 32), (CONV, 48, 3, 1, 1, HSWISH, 1)], 19, 21),
    ("3x3 convolution of whole images, many channels", [stem(RELU, 16), (CONV, 80, 3, 1, 1, HSWISH, 1)], 12, 11),
    ("3x3 convolution of whole images, stride 2", [stem(NONE, 16), (CONV, 32, 3, 2, 1, RELU, 1)], 33, 18),
    ("3x3 convolutions of whole images, narrow", [stem(RELU, 32), (CONV, 64, 3, 2, 1, RELU, 1),
                                                  (CONV, 16, 3, 1, 1, NONE, 1)], 13, 8),
    ("5x5 convolution of whole images without padding, narrow", [stem(RELU, 16), (CONV, 32, 5, 2, 0, NONE, 0)], 14, 9),
    ("3x3 convolution of whole pixels", [stem(RELU, 16), (CONV, 32, 3, 2, 1, NONE, 1), (CONV, 32, 3, 1, 1, NONE, 1)], 2, 1),
    ("7x7 convolution of whole views, stride 2", [(CONV, 32, 7, 2, 3, RELU, 1), (CONV, 16, 3, 1, 1, RELU, 0)], 39, 43),
    ("3x3 convolutions of whole images, gated and added", [stem(RELU, 16), (SQUEEZE, 5, HSWISH, RELU),
                                                           (CONV, 16, 3, 1, 1, NONE, 1), (CONV, 16, 3, 1, 1, NONE, 1),
                                                           (SUM, 3, RELU), (MEANPOOL,)], 11, 10),
    ("layer norm before 3x3 of whole images", [stem(RELU, 16), (LAYERNORM,), (CONV, 16, 3, 1, 1, HSWISH, 1)], 9, 8),
    ("depthwise 3x3", [stem(), (DEPTHWISE, 3, 1, 1, HSWISH, 1)], 7, 5),
    ("depthwise 3x3, stride 2", [stem(), (DEPTHWISE, 3, 2, 1, RELU, 1)], 7, 5),
    ("depthwise 3x3, stride 2, even", [stem(), (DEPTHWISE, 3, 2, 1, RELU, 1)], 8, 12),
    ("depthwise 5x5", [stem(out=40), (DEPTHWISE, 5, 1, 2, RELU, 1)], 9, 11),
    ("depthwise 5x5, stride 2", [stem(out=40), (DEPTHWISE, 5, 2, 2, HSWISH, 1)], 9, 11),
    ("depthwise 5x5 on one pixel", [stem(out=40), (DEPTHWISE, 5, 2, 2, HSWISH, 0)], 1, 2),
    ("depthwise 7x7 with bias, stride 3", [stem(), (DEPTHWISE, 7, 3, 2, NONE, 0)], 17, 15),
    ("depthwise 2x2, stride 3", [stem(), (DEPTHWISE, 2, 3, 0, NONE, 0)], 11, 12),
    ("depthwise 3x3, in bands", [stem(out=200), (DEPTHWISE, 3, 2, 1, RELU, 1), (DEPTHWISE, 5, 1, 2, RELU, 1)], 45, 50),
    ("mean-pool and linear", [stem(RELU), (MEANPOOL,), (LINEAR, 11, HSWISH), (LINEAR, 6, NONE)], 7, 5),
    ("mean-pool of a sum", [stem(RELU), stem(NONE), (SUM, 0, RELU), (MEANPOOL,)], 7, 5),
    ("mean-pool of a large image", [stem(HSWISH), (MEANPOOL,)], 60, 61),
    ("max-pool", [stem(RELU), (MAXPOOL, 3, 2, 1)], 7, 5),
    ("max-pool, 2x2, in bands", [stem(NONE, 90), (MAXPOOL, 2, 2, 0)], 70, 50),
    ("max-pool, overlapping, in bands", [stem(out=150), (MAXPOOL, 3, 2, 1)], 61, 50),
    ("max-pool, overlapping, with padding", [stem(HSWISH), (MAXPOOL, 3, 1, 1), (CONV, 9, 1, 1, 0, NONE, 1)], 7, 6),
    ("squeeze", [stem(), (DEPTHWISE, 3, 1, 1, HSWISH, 1), (SQUEEZE, 8, RELU, HSIGMOID), (CONV, 10, 1, 1, 0, NONE, 1)], 7, 5),
    ("squeeze by sigmoid", [stem(SILU), (DEPTHWISE, 5, 1, 2, SILU, 1), (SQUEEZE, 4, SILU, SIGMOID),
                            (CONV, 10, 1, 1, 0, SILU, 1)], 7, 5),
    ("squeeze before 3x3", [stem(RELU), (SQUEEZE, 5, HSWISH, RELU), (CONV, 10, 3, 1, 1, NONE, 1)], 7, 5),
    ("sum, both shared", [stem(), (CONV, 13, 3, 1, 1, NONE, 1), (SUM, 0, RELU), (CONV, 7, 1, 1, 0, NONE, 1)], 7, 5),
    ("sum of sums", [stem(NONE), (CONV, 13, 1, 1, 0, NONE, 1), (SUM, 0, NONE), (CONV, 13, 3, 1, 1, NONE, 1), (SUM, 2, NONE),
                     (CONV, 7, 1, 1, 0, NONE, 1)], 7, 5),
    ("sum of activations", [stem(), (CONV, 13, 1, 1, 0, HSWISH, 1), (SUM, 0, HSWISH), (CONV, 7, 1, 1, 0, NONE, 1),
                            (CONV, 13, 3, 1, 1, NONE, 0), (SUM, 2, NONE)], 7, 5),
    ("sum with an early reader", [stem(), (CONV, 13, 1, 1, 0, NONE, 1), (SUM, 0, NONE), (SUM, 0, RELU)], 7, 5),
    ("inverted bottleneck", [(CONV, 24, 3, 2, 1, HSWISH, 1), (CONV, 72, 1, 1, 0, HSWISH, 1), (DEPTHWISE, 5, 1, 2, HSWISH, 1),
                             (SQUEEZE, 24, RELU, HSIGMOID), (CONV, 24, 1, 1, 0, NONE, 1), (SUM, 0, NONE),
                             (CONV, 60, 1, 1, 0, RELU6, 1), (MEANPOOL,), (LINEAR, 33, HSWISH)], 14, 10),
    ("gelu", [stem(GELU), (CONV, 21, 3, 1, 1, GELU, 0), (LINEAR, 9, GELU)], 7, 5),
    ("tokens", [stem(GELU), (TOKENS,), (LINEAR, 9, NONE)], 7, 5),
    ("the first token", [stem(NONE), (TOKENS,), (TOKEN,), (LINEAR, 9, NONE)], 7, 5),
    ("a token and all of them", [stem(NONE), (TOKENS,), (LINEAR, 5, GELU), (LINEAR, 13, NONE), (SUM, 1, NONE), (TOKEN,)], 7, 5),
    ("layer norm", [stem(GELU), (LAYERNORM,), (LINEAR, 9, NONE)], 7, 5),
    ("layer norm as output", [(CONV, 33, 3, 1, 1, NONE, 0), (LAYERNORM,)], 7, 5),
    ("layer norm before 3x3", [stem(RELU), (LAYERNORM,), (CONV, 9, 3, 2, 1, HSWISH, 1)], 9, 8),
    ("layer norm before a depthwise convolution", [stem(NONE), (LAYERNORM,), (DEPTHWISE, 3, 1, 1, NONE, 1)], 7, 5),
    ("attention", [stem(NONE, 36), (ATTENTION, 2, 0), (LINEAR, 9, NONE)], 7, 5),
    ("attention of tokens", [(CONV, 10, 2, 2, 0, NONE, 0), (TOKENS,), (LINEAR, 90, NONE), (ATTENTION, 3, 0)], 14, 10),
    ("attention with one query", [(CONV, 10, 2, 2, 0, NONE, 0), (TOKENS,), (LINEAR, 90, NONE), (ATTENTION, 3, 1)], 14, 10),
    ("attention with five queries", [stem(NONE, 24), (ATTENTION, 1, 5), (LINEAR, 9, NONE)], 7, 5),
    ("a slice of the channels", [stem(NONE), (SLICE, 3, 7), (CONV, 9, 1, 1, 0, NONE, 1)], 7, 5),
    ("two slices", [stem(out=40), (SLICE, 0, 9), (CONV, 31, 1, 1, 0, HSWISH, 1), (SLICE, 22, 9), (SUM, 1, NONE)], 7, 5),
    ("shuffle", [stem(), (CONV, 13, 3, 1, 1, NONE, 1), (SHUFFLE, 0), (CONV, 7, 1, 1, 0, NONE, 1)], 7, 5),
    ("shuffle as output, in bands", [stem(out=150), (DEPTHWISE, 3, 1, 1, HSWISH, 1), (SHUFFLE, 0)], 41, 38),
    ("ShuffleNet unit", [stem(RELU, 26), (SLICE, 0, 13), (SHUFFLE, 1), (SLICE, 13, 13), (CONV, 13, 1, 1, 0, RELU, 1),
                         (DEPTHWISE, 3, 1, 1, NONE, 1), (CONV, 13, 1, 1, 0, RELU, 1), (SHUFFLE, 1), (MEANPOOL,)], 9, 8),
    ("transformer block", [(CONV, 20, 4, 4, 0, NONE, 0), (TOKENS,), (LAYERNORM,), (LINEAR, 60, NONE), (ATTENTION, 4, 0),
                           (LINEAR, 20, NONE), (SUM, 1, NONE), (LAYERNORM,), (LINEAR, 80, GELU), (LINEAR, 20, NONE),
                           (SUM, 6, NONE), (LAYERNORM,)], 24, 20),
]


# What AMX does without patches: rows of 16 pixels and what is left of a row, bands, pixels of 16 images and what is left of the
# images, strides, more channels than a step has, fewer, and odd numbers of them; squeezed inputs; views.
TILED = [
    ("tiled 3x3 in bands", [stem(RELU, 32), (CONV, 40, 3, 1, 1, RELU, 1)], 37, 40, 3),
    ("tiled 3x3 of few pixels", [stem(RELU, 48), (CONV, 72, 3, 1, 1, RELU, 1)], 4, 5, 38),
    ("tiled 3x3 on one row", [stem(RELU, 16), (CONV, 18, 3, 1, 1, RELU, 1)], 1, 17, 4),
    ("tiled 5x5", [stem(RELU, 20), (CONV, 34, 5, 1, 2, RELU, 1)], 9, 19, 5),
    ("tiled 3x3, odd channels", [stem(RELU, 17), (CONV, 33, 3, 1, 1, RELU, 1), (CONV, 29, 3, 2, 1, RELU, 1)], 9, 10, 19),
    ("tiled 3x3, stride 2", [stem(RELU, 32), (CONV, 64, 3, 2, 1, RELU, 1)], 29, 30, 3),
    ("tiled 3x3, stride 2, few pixels", [stem(RELU, 24), (CONV, 70, 3, 2, 1, RELU, 1)], 8, 7, 21),
    ("tiled 1x1, stride 2", [stem(RELU, 34), (CONV, 20, 1, 2, 0, NONE, 1)], 13, 14, 4),
    ("tiled 2x2, stride 3, without padding", [stem(RELU, 16), (CONV, 16, 2, 3, 0, RELU, 1)], 11, 13, 4),
    ("tiled 1x1 with bias, twice read", [stem(RELU, 40), (CONV, 40, 1, 1, 0, NONE, 0), (SUM, 0, RELU)], 11, 23, 3),
    ("tiled 7x7 of the view, stride 2", [(CONV, 34, 7, 2, 3, RELU, 1)], 33, 70, 3),
    ("tiled 3x3 of the view", [(CONV, 16, 3, 1, 1, RELU, 1)], 12, 37, 4),
    ("tiled 3x3 of small views, stride 2", [(CONV, 20, 3, 2, 1, RELU, 1)], 9, 7, 37),
    ("tiled 3x3 of views without padding", [(CONV, 20, 3, 1, 0, RELU, 1)], 5, 6, 18),
    ("tiled 8x8 of the view, stride 8", [(CONV, 40, 8, 8, 0, RELU, 0)], 17, 26, 3),
    ("tiled 3x3 of a squeezed input", [stem(RELU, 32), (SQUEEZE, 8, RELU, SIGMOID), (CONV, 32, 3, 1, 1, RELU, 1)], 7, 7, 18),
]
