/*
 * build.h - drawing up a plan: each function adds a layer's nodes and named tensors behind the node at hand (private to lib/nn)
 *
 * Layers (layers.c) are made of these; names are torchvision's. What cannot be, by the architecture's tables, is a bug; images
 * too small for the network make the builder fail, and go on.
 */
#ifndef NN_BUILD_H
#define NN_BUILD_H

#include "lib/nn/engine/engine.h"

struct builder {
	struct plan *plan;
	struct net *lay;         /* whose tensors are laid out on the way; NULL: they are there */
	int tensor;              /* the next one */
	enum output output;      /* what the layers lead to */
	int at;                  /* the node that the next layer reads */
	int gate;                /* and the gate it reads it with, -1: none */
	int outputs[NODES_MAX];  /* of each row */
	int row;
	bool failed;             /* fail() has the sentence */
};
/* A name that lives as long as the block around it: NAME("layer%d.bn1", i). */
#define NAME(...) build_name((char[64]){ "" }, __VA_ARGS__)
const char *build_name(char name[64], const char *fmt, ...) PRINTF(2, 3);

struct conv_spec {
	int out, k, stride, pad;
	enum act act;
	bool depthwise;
	const char *conv, *norm; /* names; norm NULL: a bias instead */
};
void build_conv(struct builder *b, const struct conv_spec *s);
/* Over the channels of every pixel. */
void build_linear(struct builder *b, int out, enum act act, bool bias, const char *name);
void build_maxpool(struct builder *b, int k, int stride, int pad);
void build_meanpool(struct builder *b);
void build_squeeze(struct builder *b, int width, enum act inner, enum act outer, const char *first, const char *second);
/* Pixels as tokens in one row behind the class token, plus the position embedding; names of those two. */
void build_tokens(struct builder *b, const char *cls, const char *position);
/* The first token alone. */
void build_token(struct builder *b);
void build_layernorm(struct builder *b, const char *name);
/* Reads queries, keys and values side by side, each of heads parts; only the first queries tokens ask. */
void build_attention(struct builder *b, int heads, int queries);
/* Dropout, where the configuration has it. */
void build_dropout(struct builder *b);
/* Stochastic depth of the branch that ends here, before its sum; depth: of the block, 0 to 1. */
void build_drop_path(struct builder *b, double depth);
/* at + other, then act. */
void build_sum(struct builder *b, int other, enum act act);
/* The channels of another node and of the one at hand, in turn. */
void build_shuffle(struct builder *b, int other);
/* count channels from one on. */
void build_slice(struct builder *b, int from, int count);

/* All rows of the architecture (layers.c), and the layers that are in files of their own. */
void build_arch(struct builder *b);
void build_vit_patches(struct builder *b, const int *v);
void build_vit_blocks(struct builder *b, const int *v);
void build_shuffle_stem(struct builder *b, const int *v);
void build_shuffle_units(struct builder *b, const int *v);
void build_shuffle_last(struct builder *b, const int *v);

#endif
