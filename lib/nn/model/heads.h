/*
 * heads.h - heads and predictors, the layers behind a network's feature and its head: by a name, or spelled layer by layer
 *
 *	2048,bn,relu,256        linear 2048, batch norm, ReLU, linear 256; as PyTorch's nn.Sequential counts them: 0 1 2 3
 *
 * A number is a linear layer of so many outputs, with a bias; bn, relu, gelu are what they are called, drop=.5 is dropout.
 * Norms and activations follow a linear layer. A name stands for a spelling, in which d is the width of what comes in, 2d twice
 * that, and dim the width of what goes out (of a predictor that of its input, which it predicts another's of):
 *
 *	struct head h;
 *	if (head_parse(&h, "head", "simple", 512, 128) < 0) ... 512,relu,128
 *	h.layers[h.count - 1].width                             128
 *
 * A head may have several predictors, each with a word of its own: semadv=byol temadv=512,relu,dim, a blank between.
 */
#ifndef NN_HEADS_H
#define NN_HEADS_H

#include "lib/base/options.h"

enum { HEAD_LAYERS = 24, HEAD_WIDEST = 65536 };

struct head_layer {
	enum head_kind { HEAD_LINEAR, HEAD_NORM, HEAD_RELU, HEAD_GELU, HEAD_DROP } kind;
	int width;               /* of HEAD_LINEAR */
	double p;                /* of HEAD_DROP */
};

struct head {
	struct head_layer layers[HEAD_LAYERS];
	int count;               /* 0: "none" */
	int width;               /* of what goes out */
};

/* kind: "head" or "predictor"; d: width of what comes in; dim: what names have for their output (a spelling has its own). -1
 * after fail() with EXIT_USAGE. */
int head_parse(struct head *h, const char *kind, const char *text, int d, int dim);
/* The width that a head's spelling says by itself; 0: it is a name. */
int head_spelled_width(const char *text);

enum { PREDICTORS = 8, PREDICTOR_WORD = 16 };

struct predictors {
	int count;
	struct predictor {
		char word[PREDICTOR_WORD];   /* lower-case letters; "": it has none */
		char layers[256];            /* as above */
	} list[PREDICTORS];
};

/* One more: of equal words the last counts, and "none" ends all before it. Then a text of several. -1 after fail() with
 * EXIT_USAGE: there are too many, or a word is too long. */
int predictors_add(struct predictors *p, const char *text);
int predictors_parse(struct predictors *p, const char *text);
/* The text of all, into dst (returned). */
const char *predictors_spell(const struct predictors *p, char *dst, size_t size);

#endif
