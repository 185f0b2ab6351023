"""products - PyTorch's autocast to bf16, the same on every processor

    with autocast(dtype):              nothing changes unless dtype is torch.bfloat16
        y = model(x)

What PyTorch's own products in bf16 lose depends on the processor: with instructions for bf16 they sum in f32 and round once,
without them its fallbacks round on the way and lose several times as much. A yardstick must not. So convolutions, linear
layers, products of matrices and GELU take operands rounded to bf16, are computed in f32 and rounded once; so are their
gradients, by the casts between. All else in bf16 (sums, norms, activations, pools) PyTorch computes alike everywhere.
"""
import contextlib
from unittest import mock

import torch
import torch.nn.functional as F


def narrow(x):
    """The numbers of x rounded to bf16, in f32; so is the gradient of x."""
    return x.bfloat16().float() if torch.is_tensor(x) and x.is_floating_point() else x


def rounded(function):
    """function of operands in bf16: computed in f32, its result rounded."""
    def call(*operands, **options):
        with torch.autocast("cpu", enabled=False):
            return function(*map(narrow, operands), **{name: narrow(o) for name, o in options.items()}).bfloat16()

    return call


@contextlib.contextmanager
def autocast(dtype):
    if dtype != torch.bfloat16:
        yield
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.autocast("cpu", torch.bfloat16))
        for place, name in ((F, "conv2d"), (F, "linear"), (F, "gelu"), (torch, "matmul"), (torch.Tensor, "__matmul__")):
            stack.enter_context(mock.patch.object(place, name, rounded(getattr(place, name))))
        yield
