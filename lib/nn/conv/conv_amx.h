/*
 * conv_amx.h - dense convolution and linear layers in bf16 by AMX, without patches: what the files of this way share
 *
 * The value of a chunk's input pixels lies in scratch with zeros around it. A row panel's 16 rows are 16 pixels of an output
 * row, or, where rows are short, one pixel of 16 images; each tap of the window is the same rows read from another place, 32
 * channels a step (conv_sweep.c). Taps outside of the image are left out. The input's gradient is the same with the output's
 * gradient read and transposed weights; at stride s the pixels of the input fall into s*s phases, each with taps of its own.
 *
 * Weights' gradients are products over pixels (conv_outer.c). At stride 1, inputs and gradients lie in scratch alike, so that a
 * tap is a distance between the two: the inputs are transposed once, channels apart and pixels side by side, and serve all
 * taps. Zeros between rows and images multiply to nothing. At other strides each tap's pixels are gathered first. Of views,
 * whole rows of taps are.
 */
#ifndef NN_CONV_AMX_H
#define NN_CONV_AMX_H

#include "lib/nn/conv/conv.h"
#include "lib/tensor/amx.h"

#define TAPS_MAX 49              /* taps are bits of a word */
#define SHORT_ROW 11             /* outputs of rows up to this are made pixel by pixel, of many images at once */

/* The pixels under a row of taps of a view are a few numbers side by side: such a row is one tap with all of them as channels. */
static inline bool is_first(const struct node *in)
{
	return is_view(in);
}

static inline int taps_of(const struct node *x, const struct node *in)
{
	return is_first(in) ? x->k : x->k * x->k;
}

static inline int channels_of(const struct node *x, const struct node *in)
{
	return is_first(in) ? x->k * in->c : in->c;
}

static inline const struct amx *amx(const struct task *t)
{
	return t->plan->backend[BF16]->amx;
}

static inline void *room_of(const struct task *t)
{
	return t->p->rooms[BF16][t->thread];
}

/* Inputs and gradients lie alike. */
static inline bool is_same(const struct node *x, const struct node *in)
{
	return x->stride == 1 && !is_first(in);
}

/* --- sweeps: pixels of a result, each a sum over taps of pixels of a source --- */

struct tap {
	int weight;              /* its number among the weights */
	int y, x;                /* of the source's pixel, from the first one's */
};

/* Result pixels (py + every*j, px + every*i) read source pixels (by*j + tap.y, by*i + tap.x). */
struct phase {
	int py, px, every, by, count;
	struct tap tap[TAPS_MAX];
};

struct phase sweep_forward(const struct node *x, const struct node *in);
struct phase sweep_backward(const struct node *x, int py, int px);

struct sweep {
	const struct amx *amx;
	void *room;              /* its, of this thread */
	struct tile from;        /* the source */
	bool bordered;           /* taps left and right of an image read zeros and are not left out */
	int h, w, channels;      /* of it */
	const char *weights;
	int taps;                /* in the weights */
	char *to;                /* the first image of the result */
	enum dtype result;
	bool add;
	int to_h, to_w, columns, ld;   /* of the result */
	int images, y0, y1;      /* rows of the result to be made */
};

/* Whether panels are one pixel of many images each. */
static inline bool sweep_by_images(const struct sweep *s)
{
	return s->to_w <= SHORT_ROW && s->images > 1;
}
/* Where pixels are rows of a product and nothing more, all of a chunk's are one row. */
void sweep_flatten(struct sweep *s);
void sweep_run(const struct sweep *s, const struct phase *p);

/* Adds a chunk's part of the weight's gradient; in, back: its inputs and gradients, with borders. */
void outer_add(const struct task *t, const struct chunk *c, const struct tile *in, const struct tile *back);

#endif
