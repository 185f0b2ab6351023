/*
 * conv.h - dense convolution and linear layers: methods, of which each node has one (private to lib/nn)
 *
 * All compute the same from the same parameters: by patches and products (conv_patches.c, any node), by the backend's own
 * kernels over whole images (conv_whole.c), by AMX without patches (conv_amx.c). To add a method: one file and one row of
 * methods[] (conv.c).
 */
#ifndef NN_CONV_H
#define NN_CONV_H

#include "lib/nn/engine/engine.h"

struct conv_method {
	struct entry entry;
	/* Whether a node may go this way, by shapes and elements alone; room: of the backend that multiplies f32. May fill
	 * in x->whole. */
	bool (*choose)(const struct plan *plan, void *room, struct node *x, const struct node *in);
	/* As of struct op. */
	size_t (*scratch)(const struct node *x, const struct node *in, bool grad);
	size_t (*factor_bytes)(const struct node *x, const struct node *in, enum factor which);
	void (*factor_make)(const struct task *t, const struct node *x, const struct node *in, enum factor which, void *to);
	void (*forward)(struct task *t);
	void (*backward)(struct task *t);
};
extern const struct conv_method conv_amx, conv_whole, conv_patches;

/*
 * The gradient of a convolution of stride 1 is a convolution itself, of the output's gradient with flipped weights, (kh, kw,
 * out, in) with taps in reverse.
 */
static inline bool conv_flips(const struct node *x, const struct node *in)
{
	return x->k > 1 && x->stride == 1 && !is_view(in) && in->h == x->h && in->w == x->w;
}
/* A thread's part of the flipped weights, as the node's factors are stored. */
void conv_flip(const struct task *t, const struct node *x, const struct node *in, void *to);

#endif
