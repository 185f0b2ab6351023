/*
 * op_drop.c - dropout (Srivastava et al. 2014) and stochastic depth (Huang et al. 2016): a mask that is drawn, never stored
 *
 * While training, elements (or whole images of a branch) are zero with probability p and the others 1/(1-p) times what they were,
 * as in PyTorch. The mask of a row is drawn where it is needed, forward and again backward, from Philox keyed by the seed, the
 * step, the row's place in the whole batch, the node and the pass: it depends on no thread and no part, and a resumed run draws
 * the same.
 */
#include "lib/nn/engine/engine.h"
#include "lib/nn/onnx/graph.h"

#include "lib/base/rng.h"

enum { GROUP = 16 };   /* streams that stand beside each other */
_Static_assert(NODES_MAX * MASK_STREAMS <= 1 << 16, "a node and a stream no longer fit the key of a mask");

static uint16_t key_of(int node, int stream)
{
	return (uint16_t)((stream / GROUP * NODES_MAX + node) * GROUP + stream % GROUP);
}

void drop_mask(const struct pass *p, int node, int row, float *mask)
{
	const struct node *x = &p->plan->nodes[node];
	const struct masks *m = &p->masks;
	struct rng r = rng_at(m->seed, m->step, m->row + row, key_of(node, m->stream), RNG_DROPOUT);
	double drop = x->drop * 0x1p32;
	float keep = (float)(1 / (1 - x->drop)), all = x->by_image && rng_u32(&r) < drop ? 0 : keep;

	for (int64_t i = 0, pixels = (int64_t)x->h * x->w; i < pixels; i++, mask += x->ld)
		for (int c = 0; c < x->ld; c++)
			mask[c] = x->by_image || c >= x->c ? all : rng_u32(&r) < drop ? 0 : keep;
}

static int64_t floats(const struct node *x)
{
	return (int64_t)x->h * x->w * x->ld;
}

static size_t drop_scratch(const struct node *x, const struct node *in, bool grad)
{
	(void)in, (void)grad;
	return 2 * floats(x) * sizeof(float);
}

static void drop(const struct task *t, int n, float *mask, float *rows)
{
	drop_mask(t->p, t->id, n, mask);
	for (int64_t i = 0; i < floats(t->x); i++)
		rows[i] *= mask[i];
}

static void drop_forward(struct task *t)
{
	const struct node *x = t->x;
	float *value = (float *)t->scratch, *mask = value + floats(x);

	for (int n = t->n0; n < t->n1; n++) {
		value_read(t, x->in[0], -1, n, 1, 0, x->h, value, F32, x->w);
		if (t->p->mode != PASS_EVAL)
			drop(t, n, mask, value);
		value_put(t, n, 0, value, (int64_t)x->h * x->w);
	}
}

static void drop_backward(struct task *t)
{
	const struct node *x = t->x;
	float *gradient = (float *)t->scratch, *mask = gradient + floats(x);

	for (int n = t->n0; n < t->n1; n++) {
		gradient_read(t, n, 1, 0, x->h, gradient, F32, x->w);
		drop(t, n, mask, gradient);
		gradient_give(t, 0, n, 1, 0, x->h, gradient);
	}
}

/* In evaluation there is none. */
static const char *drop_onnx(struct graph *g, const struct node *x)
{
	return graph_in(g, x, 0);
}

const struct op op_drop = {
	.entry = { "drop", "dropout, stochastic depth", NULL },
	.forward = drop_forward,
	.backward = drop_backward,
	.scratch = drop_scratch,
	.onnx = drop_onnx,
};
