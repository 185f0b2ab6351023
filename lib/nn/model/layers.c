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
	char conv[64], norm[64];
	int shift = depthwise ? 0 : 1;

	format(conv, sizeof(conv), "row%d.%s", b->row, kind);
	format(norm, sizeof(norm), "row%d.norm", b->row);
	build_conv(b, &(struct conv_spec){ .out = depthwise ? 0 : v[0],
					   .k = v[shift],
					   .stride = v[shift + 1],
					   .pad = v[shift + 2],
					   .act = v[shift + 3],
					   .depthwise = depthwise,
					   .conv = conv,
					   .norm = v[shift + 4] ? norm : NULL });
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
	char name[64];

	format(name, sizeof(name), "row%d.linear", b->row);
	build_linear(b, v[0], v[1], name);
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
	char first[64], second[64];

	format(first, sizeof(first), "row%d.fc1", b->row);
	format(second, sizeof(second), "row%d.fc2", b->row);
	build_squeeze(b, v[0], v[1], v[2], first, second);
}

static void sum(struct builder *b, const int *v)
{
	build_sum(b, b->outputs[v[0]], v[1]);
}

static void tokens(struct builder *b, const int *v)
{
	char cls[64], position[64];

	(void)v;
	format(cls, sizeof(cls), "row%d.cls_token", b->row);
	format(position, sizeof(position), "row%d.pos_embed", b->row);
	build_tokens(b, cls, position);
}

static void token(struct builder *b, const int *v)
{
	(void)v;
	build_token(b);
}

static void layernorm(struct builder *b, const int *v)
{
	char name[64];

	(void)v;
	format(name, sizeof(name), "row%d.norm", b->row);
	build_layernorm(b, name);
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
	char conv_name[64], norm_name[64];

	format(conv_name, sizeof(conv_name), "%s.conv%d", prefix, i);
	format(norm_name, sizeof(norm_name), "%s.bn%d", prefix, i);
	build_conv(b, &(struct conv_spec){ .out = out, .k = k, .stride = stride, .pad = k / 2, .act = act, .conv = conv_name,
		.norm = norm_name });
}

/* What the block's result is added to: its input, or a 1x1 convolution of it. Leaves b->at alone. */
static int resnet_shortcut(struct builder *b, const char *prefix, int from, int out, int stride)
{
	const struct node *x = &b->plan->nodes[from];
	char conv_name[64], norm_name[64];
	int main = b->at, shortcut;

	if (x->c == out && stride == 1)
		return from;
	format(conv_name, sizeof(conv_name), "%s.downsample.0", prefix);
	format(norm_name, sizeof(norm_name), "%s.downsample.1", prefix);
	b->at = from;
	build_conv(b, &(struct conv_spec){ .out = out, .k = 1, .stride = stride, .conv = conv_name, .norm = norm_name });
	shortcut = b->at;
	b->at = main;
	return shortcut;
}

static void basic(struct builder *b, const int *v)
{
	char prefix[32];

	for (int i = 0; i < v[1]; i++) {
		int from = b->at, stride = i ? 1 : v[2];

		format(prefix, sizeof(prefix), "layer%d.%d", b->row, i);
		resnet_conv(b, prefix, 1, v[0], 3, stride, ACT_RELU);
		resnet_conv(b, prefix, 2, v[0], 3, 1, ACT_NONE);
		build_sum(b, resnet_shortcut(b, prefix, from, v[0], stride), ACT_RELU);
	}
}

/* The stride is the 3x3 convolution's ("v1.5"), where He et al. 2016 gave it to the first. */
static void bottleneck(struct builder *b, const int *v)
{
	char prefix[32];

	for (int i = 0; i < v[1]; i++) {
		int from = b->at, stride = i ? 1 : v[2], out = 4 * v[0];

		format(prefix, sizeof(prefix), "layer%d.%d", b->row, i);
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
	char conv_name[64], norm_name[64];

	format(conv_name, sizeof(conv_name), "%s.0", prefix);
	format(norm_name, sizeof(norm_name), "%s.1", prefix);
	s.conv = conv_name;
	s.norm = norm_name;
	s.pad = s.k / 2;
	build_conv(b, &s);
}

/* Also the last convolution: features.ROW. */
static void mobile_stem(struct builder *b, const int *v)
{
	bool small = b->plan->net->config.small;
	char prefix[32];

	format(prefix, sizeof(prefix), "features.%d", b->row);
	mobile_conv(b, prefix, (struct conv_spec){ .out = v[0], .k = 3, .stride = small ? 1 : 2, .act = v[1] });
}

static void mobile_last(struct builder *b, const int *v)
{
	char prefix[32];

	format(prefix, sizeof(prefix), "features.%d", b->row);
	mobile_conv(b, prefix, (struct conv_spec){ .out = v[0], .k = 1, .stride = 1, .act = v[1] });
}

/* torchvision's _make_divisible(c, 8): the nearest multiple of 8, but not below 90 %. */
static int divisible(int c)
{
	int n = MAX(8, (c + 4) / 8 * 8);

	return n * 10 < c * 9 ? n + 8 : n;
}

struct block {
	char prefix[32];         /* the block's parts are PREFIX.0, PREFIX.1, ... as they come */
	int expanded, k, stride, out;
	enum act act;
	int squeeze;             /* width between the gate's two layers, 0: no gate */
	enum act inner, outer;   /* the gate's activations */
	bool bare;               /* the last convolution and its norm are two parts */
	double depth;            /* 0 to 1, for stochastic depth */
};

static void block_squeeze(struct builder *b, const struct block *k, int part)
{
	char first[64], second[64];

	format(first, sizeof(first), "%s.%d.fc1", k->prefix, part);
	format(second, sizeof(second), "%s.%d.fc2", k->prefix, part);
	build_squeeze(b, k->squeeze, k->inner, k->outer, first, second);
}

static void block_project(struct builder *b, const struct block *k, int part)
{
	char conv_name[64], norm_name[64];

	format(conv_name, sizeof(conv_name), k->bare ? "%s.%d" : "%s.%d.0", k->prefix, part);
	format(norm_name, sizeof(norm_name), k->bare ? "%s.%d" : "%s.%d.1", k->prefix, k->bare ? part + 1 : part);
	build_conv(b, &(struct conv_spec){ .out = k->out, .k = 1, .stride = 1, .conv = conv_name, .norm = norm_name });
}

/* Expand, depthwise, squeeze, project (Sandler et al. 2018; Howard et al. 2019, fig. 4). */
static void inverted_block(struct builder *b, const struct block *k)
{
	int from = b->at, in = b->plan->nodes[from].c, part = 0;
	char prefix[2][48];

	for (int i = 0; i < 2; i++)
		format(prefix[i], sizeof(prefix[i]), "%s.%d", k->prefix, i);
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
		.stride = v[5], .inner = ACT_RELU, .outer = ACT_HARDSIGMOID };

	format(k.prefix, sizeof(k.prefix), "features.%d.block", b->row);
	inverted_block(b, &k);
}

static void inverted_v2(struct builder *b, const int *v)
{
	struct block k = { .k = 3, .expanded = v[0] * b->plan->nodes[b->at].c, .out = v[1], .stride = v[2], .act = ACT_RELU6,
		.bare = true };

	format(k.prefix, sizeof(k.prefix), "features.%d.conv", b->row);
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
		struct block k = { .expanded = v[0] * in, .k = v[1], .stride = i ? 1 : v[2], .out = v[3], .act = ACT_SILU,
			.squeeze = MAX(1, in / 4), .inner = ACT_SILU, .outer = ACT_SIGMOID,
			.depth = (mbconv_blocks(a, b->row) + i) / (double)mbconv_blocks(a, a->count) };

		format(k.prefix, sizeof(k.prefix), "features.%d.%d.block", b->row, i);
		inverted_block(b, &k);
	}
}

static void classifier(struct builder *b, const int *v)
{
	build_linear(b, v[0], v[1], "classifier.0");
}

struct layer {
	struct entry entry;
	void (*build)(struct builder *b, const int *v);
};
static const struct layer layers[] = {
	[LAYER_CONV] = { { "conv", "convolution, norm or bias, activation", NULL }, conv },
	[LAYER_DEPTHWISE] = { { "depthwise", "depthwise convolution, norm or bias, activation", NULL }, depthwise },
	[LAYER_LINEAR] = { { "linear", "product and bias, activation", NULL }, linear },
	[LAYER_MAXPOOL] = { { "maxpool", "maximum over windows", NULL }, maxpool },
	[LAYER_MEANPOOL] = { { "meanpool", "mean over the image", NULL }, meanpool },
	[LAYER_SQUEEZE] = { { "squeeze", "squeeze-and-excitation gate", NULL }, squeeze },
	[LAYER_SUM] = { { "sum", "sum with an earlier row, activation", NULL }, sum },
	[LAYER_TOKENS] = { { "tokens", "pixels as tokens behind a class token, with positions", NULL }, tokens },
	[LAYER_TOKEN] = { { "token", "the first token", NULL }, token },
	[LAYER_LAYERNORM] = { { "layernorm", "layer norm over channels", NULL }, layernorm },
	[LAYER_ATTENTION] = { { "attention", "self-attention", NULL }, attention },
	[LAYER_DROPOUT] = { { "dropout", "dropout, if asked for", NULL }, dropout },
	[LAYER_SHUFFLE] = { { "shuffle", "channels of an earlier row and of the last, in turn", NULL }, shuffle },
	[LAYER_SLICE] = { { "slice", "some of the channels", NULL }, slice },
	[RESNET_STEM] = { { "resnet_stem", "7x7/2 and max-pooling, or 3x3", NULL }, resnet_stem },
	[BASIC] = { { "basic", "ResNet blocks of two 3x3 convolutions", NULL }, basic },
	[BOTTLENECK] = { { "bottleneck", "ResNet blocks of 1x1, 3x3 and 1x1 convolutions", NULL }, bottleneck },
	[MOBILE_STEM] = { { "mobile_stem", "3x3/2 convolution", NULL }, mobile_stem },
	[INVERTED] = { { "inverted", "inverted bottleneck with a depthwise convolution", NULL }, inverted },
	[INVERTED_V2] = { { "inverted_v2", "MobileNetV2's inverted bottleneck", NULL }, inverted_v2 },
	[MBCONV] = { { "mbconv", "EfficientNet's inverted bottlenecks", NULL }, mbconv },
	[MOBILE_LAST] = { { "mobile_last", "1x1 convolution", NULL }, mobile_last },
	[CLASSIFIER] = { { "classifier", "the classifier's hidden layer", NULL }, classifier },
	[VIT_PATCHES] = { { "vit_patches", "patches as tokens, a class token before them", NULL }, build_vit_patches },
	[VIT_BLOCKS] = { { "vit_blocks", "pre-norm transformer blocks, the last for the class token alone", NULL },
			 build_vit_blocks },
	[SHUFFLE_STEM] = { { "shuffle_stem", "3x3/2 convolution and max-pooling, or 3x3", NULL }, build_shuffle_stem },
	[SHUFFLE_UNITS] = { { "shuffle_units", "ShuffleNetV2's units", NULL }, build_shuffle_units },
	[SHUFFLE_LAST] = { { "shuffle_last", "1x1 convolution", NULL }, build_shuffle_last },
};
_Static_assert(ARRAY_SIZE(layers) == LAYERS, "a layer has no row");

void build_arch(struct builder *b)
{
	const struct arch *a = b->plan->net->arch;

	for (b->row = 0; b->row < a->count && !b->failed; b->row++) {
		layers[a->rows[b->row].layer].build(b, a->rows[b->row].v);
		b->outputs[b->row] = b->at;
	}
}
