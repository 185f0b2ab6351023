/*
 * layers.c - what the layers of arch.h are made of, family by family
 *
 * Names, shapes and initialisation are torchvision's (0.14). To add a layer: its number in arch.h, a function and one line of
 * layers[].
 */
#include "lib/nn/model/build.h"

/* --- layers for every family --- */

static void conv_layer(struct builder *b, const int *v, bool depthwise, const char *kind)
{
	int shift = depthwise ? 0 : 1;

	build_conv(b, &(struct conv_spec){ .out = depthwise ? 0 : v[0],
					   .k = v[shift],
					   .stride = v[shift + 1],
					   .pad = v[shift + 2],
					   .act = v[shift + 3],
					   .depthwise = depthwise,
					   .conv = NAME("row%d.%s", b->row, kind),
					   .norm = v[shift + 4] ? NAME("row%d.norm", b->row) : NULL });
}

static void conv(struct builder *b, const int *v)
{
	conv_layer(b, v, false, "conv");
}

static void depthwise(struct builder *b, const int *v)
{
	conv_layer(b, v, true, "depthwise");
}

static void linear(struct builder *b, const int *v)
{
	build_linear(b, v[0], v[1], true, NAME("row%d.linear", b->row));
}

static void maxpool(struct builder *b, const int *v)
{
	build_maxpool(b, v[0], v[1], v[2]);
}

static void meanpool(struct builder *b, const int *v)
{
	(void)v;
	build_meanpool(b);
}

static void squeeze(struct builder *b, const int *v)
{
	build_squeeze(b, v[0], v[1], v[2], NAME("row%d.fc1", b->row), NAME("row%d.fc2", b->row));
}

static void sum(struct builder *b, const int *v)
{
	build_sum(b, b->outputs[v[0]], v[1]);
}

static void tokens(struct builder *b, const int *v)
{
	(void)v;
	build_tokens(b, NAME("row%d.cls_token", b->row), NAME("row%d.pos_embed", b->row));
}

static void token(struct builder *b, const int *v)
{
	(void)v;
	build_token(b);
}

static void layernorm(struct builder *b, const int *v)
{
	(void)v;
	build_layernorm(b, NAME("row%d.norm", b->row));
}

static void attention(struct builder *b, const int *v)
{
	const struct node *in = &b->plan->nodes[b->at];

	build_attention(b, v[0], v[1] ? v[1] : in->h * in->w);
}

static void dropout(struct builder *b, const int *v)
{
	(void)v;
	build_dropout(b);
}

static void shuffle(struct builder *b, const int *v)
{
	build_shuffle(b, b->outputs[v[0]]);
}

static void slice(struct builder *b, const int *v)
{
	build_slice(b, v[0], v[1]);
}

/* --- ResNet --- */

/* Small images (He et al. 2016, sec. 4.2; MoCo's CIFAR code): 3x3, stride 1 and no pooling. */
static void resnet_stem(struct builder *b, const int *v)
{
	bool small = b->plan->net->config.small;

	build_conv(b, &(struct conv_spec){ .out = v[0],
					   .k = small ? 3 : 7,
					   .stride = small ? 1 : 2,
					   .pad = small ? 1 : 3,
					   .act = ACT_RELU,
					   .conv = "conv1",
					   .norm = "bn1" });
	if (!small)
		build_maxpool(b, 3, 2, 1);
}

/* conv, norm pair I of a block: PREFIX.convI, PREFIX.bnI. */
static void resnet_conv(struct builder *b, const char *prefix, int i, int out, int k, int stride, enum act act)
{
	build_conv(b, &(struct conv_spec){ .out = out, .k = k, .stride = stride, .pad = k / 2, .act = act,
					   .conv = NAME("%s.conv%d", prefix, i), .norm = NAME("%s.bn%d", prefix, i) });
}

/* What the block's result is added to: its input, or a 1x1 convolution of it. Leaves b->at alone. */
static int resnet_shortcut(struct builder *b, const char *prefix, int from, int out, int stride)
{
	const struct node *x = &b->plan->nodes[from];
	int main = b->at, shortcut;

	if (x->c == out && stride == 1)
		return from;
	b->at = from;
	build_conv(b, &(struct conv_spec){ .out = out, .k = 1, .stride = stride, .conv = NAME("%s.downsample.0", prefix),
					   .norm = NAME("%s.downsample.1", prefix) });
	shortcut = b->at;
	b->at = main;
	return shortcut;
}

static void basic(struct builder *b, const int *v)
{
	for (int i = 0; i < v[1]; i++) {
		const char *prefix = NAME("layer%d.%d", b->row, i);
		int from = b->at, stride = i ? 1 : v[2];

		resnet_conv(b, prefix, 1, v[0], 3, stride, ACT_RELU);
		resnet_conv(b, prefix, 2, v[0], 3, 1, ACT_NONE);
		build_sum(b, resnet_shortcut(b, prefix, from, v[0], stride), ACT_RELU);
	}
}

/* The stride is the 3x3 convolution's ("v1.5"), where He et al. 2016 gave it to the first. */
static void bottleneck(struct builder *b, const int *v)
{
	for (int i = 0; i < v[1]; i++) {
		const char *prefix = NAME("layer%d.%d", b->row, i);
		int from = b->at, stride = i ? 1 : v[2], out = 4 * v[0];

		resnet_conv(b, prefix, 1, v[0], 1, 1, ACT_RELU);
		resnet_conv(b, prefix, 2, v[0], 3, stride, ACT_RELU);
		resnet_conv(b, prefix, 3, out, 1, 1, ACT_NONE);
		build_sum(b, resnet_shortcut(b, prefix, from, out, stride), ACT_RELU);
	}
}

/* --- MobileNet --- */

/* A convolution and its norm under PREFIX.0 and PREFIX.1. */
static void mobile_conv(struct builder *b, const char *prefix, struct conv_spec s)
{
	s.conv = NAME("%s.0", prefix);
	s.norm = NAME("%s.1", prefix);
	s.pad = s.k / 2;
	build_conv(b, &s);
}

/* Also the last convolution: features.ROW. */
static void mobile_stem(struct builder *b, const int *v)
{
	int stride = b->plan->net->config.small ? 1 : 2;

	mobile_conv(b, NAME("features.%d", b->row), (struct conv_spec){ .out = v[0], .k = 3, .stride = stride, .act = v[1] });
}

static void mobile_last(struct builder *b, const int *v)
{
	mobile_conv(b, NAME("features.%d", b->row), (struct conv_spec){ .out = v[0], .k = 1, .stride = 1, .act = v[1] });
}

/* torchvision's _make_divisible(c, 8): the nearest multiple of 8, but not below 90 %. */
static int divisible(int c)
{
	int n = MAX(8, (c + 4) / 8 * 8);

	return n * 10 < c * 9 ? n + 8 : n;
}

struct block {
	const char *prefix;      /* the block's parts are PREFIX.0, PREFIX.1, ... as they come */
	int expanded, k, stride, out;
	enum act act;
	int squeeze;             /* width between the gate's two layers, 0: no gate */
	enum act inner, outer;   /* the gate's activations */
	bool bare;               /* the last convolution and its norm are two parts */
	double depth;            /* 0 to 1, for stochastic depth */
};

static void block_squeeze(struct builder *b, const struct block *k, int part)
{
	build_squeeze(b, k->squeeze, k->inner, k->outer, NAME("%s.%d.fc1", k->prefix, part),
		      NAME("%s.%d.fc2", k->prefix, part));
}

static void block_project(struct builder *b, const struct block *k, int part)
{
	build_conv(b, &(struct conv_spec){ .out = k->out, .k = 1, .stride = 1,
					   .conv = NAME("%s.%d%s", k->prefix, part, k->bare ? "" : ".0"),
					   .norm = NAME("%s.%d%s", k->prefix, part + k->bare, k->bare ? "" : ".1") });
}

/* Expand, depthwise, squeeze, project (Sandler et al. 2018; Howard et al. 2019, fig. 4). */
static void inverted_block(struct builder *b, const struct block *k)
{
	int from = b->at, in = b->plan->nodes[from].c, part = 0;
	const char *prefix[] = { NAME("%s.0", k->prefix), NAME("%s.1", k->prefix) };

	if (k->expanded != in)
		mobile_conv(b, prefix[part++], (struct conv_spec){ .out = k->expanded, .k = 1, .stride = 1, .act = k->act });
	mobile_conv(b, prefix[part++], (struct conv_spec){ .k = k->k, .stride = k->stride, .act = k->act, .depthwise = true });
	if (k->squeeze)
		block_squeeze(b, k, part++);
	block_project(b, k, part);
	if (k->stride == 1 && in == k->out) {
		build_drop_path(b, k->depth);
		build_sum(b, from, ACT_NONE);
	}
}

static void inverted(struct builder *b, const int *v)
{
	struct block k = { .k = v[0], .expanded = v[1], .out = v[2], .squeeze = v[3] ? divisible(v[1] / 4) : 0, .act = v[4],
		.stride = v[5], .inner = ACT_RELU, .outer = ACT_HARDSIGMOID, .prefix = NAME("features.%d.block", b->row) };

	inverted_block(b, &k);
}

static void inverted_v2(struct builder *b, const int *v)
{
	struct block k = { .k = 3, .expanded = v[0] * b->plan->nodes[b->at].c, .out = v[1], .stride = v[2], .act = ACT_RELU6,
		.bare = true, .prefix = NAME("features.%d.conv", b->row) };

	inverted_block(b, &k);
}

/* Blocks in the stages of an EfficientNet before row end. */
static int mbconv_blocks(const struct arch *a, int end)
{
	int n = 0;

	for (int i = 0; i < end; i++)
		n += a->rows[i].layer == MBCONV ? a->rows[i].v[4] : 0;
	return n;
}

/* A stage of EfficientNet (Tan and Le 2019); the gate's width follows the block's input, not what it is expanded to. */
static void mbconv(struct builder *b, const int *v)
{
	const struct arch *a = b->plan->net->arch;

	for (int i = 0; i < v[4]; i++) {
		int in = b->plan->nodes[b->at].c;
		struct block k = { .prefix = NAME("features.%d.%d.block", b->row, i), .expanded = v[0] * in, .k = v[1],
			.stride = i ? 1 : v[2], .out = v[3], .act = ACT_SILU, .squeeze = MAX(1, in / 4), .inner = ACT_SILU,
			.outer = ACT_SIGMOID, .depth = (mbconv_blocks(a, b->row) + i) / (double)mbconv_blocks(a, a->count) };

		inverted_block(b, &k);
	}
}

static void classifier(struct builder *b, const int *v)
{
	build_linear(b, v[0], v[1], true, "classifier.0");
}

static void (*const layers[])(struct builder *b, const int *v) = {
	[LAYER_CONV] = conv, [LAYER_DEPTHWISE] = depthwise, [LAYER_LINEAR] = linear, [LAYER_MAXPOOL] = maxpool,
	[LAYER_MEANPOOL] = meanpool, [LAYER_SQUEEZE] = squeeze, [LAYER_SUM] = sum, [LAYER_TOKENS] = tokens,
	[LAYER_TOKEN] = token, [LAYER_LAYERNORM] = layernorm, [LAYER_ATTENTION] = attention, [LAYER_DROPOUT] = dropout,
	[LAYER_SHUFFLE] = shuffle, [LAYER_SLICE] = slice, [RESNET_STEM] = resnet_stem, [BASIC] = basic,
	[BOTTLENECK] = bottleneck, [MOBILE_STEM] = mobile_stem, [INVERTED] = inverted, [INVERTED_V2] = inverted_v2,
	[MBCONV] = mbconv, [MOBILE_LAST] = mobile_last, [CLASSIFIER] = classifier, [VIT_PATCHES] = build_vit_patches,
	[VIT_BLOCKS] = build_vit_blocks, [SHUFFLE_STEM] = build_shuffle_stem, [SHUFFLE_UNITS] = build_shuffle_units,
	[SHUFFLE_LAST] = build_shuffle_last,
};
_Static_assert(ARRAY_SIZE(layers) == LAYERS, "a layer has no row");

void build_arch(struct builder *b)
{
	const struct arch *a = b->plan->net->arch;

	for (b->row = 0; b->row < a->count && !b->failed; b->row++) {
		layers[a->rows[b->row].layer](b, a->rows[b->row].v);
		b->outputs[b->row] = b->at;
	}
}
