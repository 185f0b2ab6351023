/*
 * arch.h - architectures as tables of rows
 *
 * To add an architecture: write its rows in arch.c and add one line to archs[]. net_new() checks shapes; help, parity tests and
 * the man-page check iterate the table. Rows hold a layer and integers only; a new layer (a residual block, an inverted
 * bottleneck) is a number below, one function and one line of layers[] in layers.c.
 *
 *	static const struct row tiny[] = {
 *		{ LAYER_CONV, { 16, 3, 1, 1, ACT_RELU, 1 } },      16 channels, 3x3, stride 1, padding 1, ReLU, batch norm
 *		{ LAYER_MEANPOOL, { 0 } },
 *		{ LAYER_LINEAR, { 32, ACT_HARDSWISH } },
 *	};
 *	static const struct arch arch = { .entry = { "tiny", "for a test", NULL }, .rows = tiny, .count = 3, .bn_eps = 1e-5,
 *	                                  .bn_momentum = 0.1 };
 */
#ifndef NN_ARCH_H
#define NN_ARCH_H

#include "lib/base/options.h"

/* PyTorch's definitions: hardswish x*relu6(x+3)/6, hardsigmoid relu6(x+3)/6, silu x*sigmoid(x), gelu x*(1+erf(x/sqrt 2))/2. */
enum act { ACT_NONE, ACT_RELU, ACT_RELU6, ACT_HARDSWISH, ACT_HARDSIGMOID, ACT_SILU, ACT_SIGMOID, ACT_GELU, ACTS };

/* Layers that serve every family, then those of single families, with a row's integers. */
enum {
	LAYER_CONV,       /* out, k, stride, pad, act, norm (0: a bias instead) */
	LAYER_DEPTHWISE,  /* k, stride, pad, act, norm */
	LAYER_LINEAR,     /* out, act: over the channels of every pixel, with bias */
	LAYER_MAXPOOL,    /* k, stride, pad */
	LAYER_MEANPOOL,   /* over the whole image */
	LAYER_SQUEEZE,    /* width, inner act, outer act: squeeze-and-excitation, the gate of the next layer */
	LAYER_SUM,        /* row, act: adds the output of that earlier row (counted from 0) */
	LAYER_TOKENS,     /* class token, position embedding */
	LAYER_TOKEN,      /* the class token alone */
	LAYER_LAYERNORM,
	LAYER_ATTENTION,  /* heads, queries (0: all): self-attention of queries, keys and values side by side */
	LAYER_DROPOUT,    /* where the configuration asks for it */
	LAYER_SHUFFLE,    /* row: channels of that earlier row and of the one before, in turn */
	LAYER_SLICE,      /* first, count: some of the channels */
	RESNET_STEM,      /* out */
	BASIC,            /* out, blocks, stride of the first */
	BOTTLENECK,       /* width, blocks, stride of the first: out is 4 times the width */
	MOBILE_STEM,      /* out, act */
	INVERTED,         /* k, expanded, out, squeeze?, act, stride */
	INVERTED_V2,      /* expansion, out, stride */
	MBCONV,           /* expansion, k, stride of the first, out, blocks */
	MOBILE_LAST,      /* out, act */
	CLASSIFIER,       /* out, act */
	VIT_PATCHES,      /* width, patch, patch of small images, dropout? */
	VIT_BLOCKS,       /* blocks, heads, width of the MLP, of all heads, qkv biases?, dropout?; ends with the token's norm */
	SHUFFLE_STEM,     /* out */
	SHUFFLE_UNITS,    /* out, units, of which the first has stride 2 */
	SHUFFLE_LAST,     /* out */
	LAYERS
};

#define ROW_INTEGERS 7
struct row {
	int layer;
	int v[ROW_INTEGERS];
};

/* How weights start, as torchvision has it for the family; batch norm always 1 and 0, biases of convolutions 0. */
enum init_rule {
	INIT_UNIFORM,     /* PyTorch's default for linear layers: U(+-1/sqrt(in)), biases too; convolutions normal, fan-out */
	INIT_NORMAL,      /* linear layers N(0, 0.01), biases 0; convolutions normal, fan-out */
	INIT_DEFAULT,     /* PyTorch's: linear layers as INIT_UNIFORM, convolutions U(+-1/sqrt(fan-in)); tokens N(0, 1) */
	INIT_VIT,         /* linear layers and positions N(0, 0.02), biases 0, token N(0, 1e-6); convolutions as INIT_DEFAULT */
};

struct arch {
	struct entry entry;
	const struct row *rows;
	int count;
	double bn_eps, bn_momentum;   /* eps of layer norm too */
	enum init_rule init;
	const char *freeze;           /* what training keeps as it is unless told otherwise (net.h); NULL: nothing */
};

extern const struct table arch_table;
const struct arch *arch_find(const char *name);   /* NULL when there is none */

#endif
