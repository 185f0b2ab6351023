/* op_sum.c - residual sums: written once, because many read them; backward, inputs share the sum's gradient where they can */
#include "lib/nn/engine.h"

static size_t sum_scratch(const struct node *x, const struct node *in, bool grad)
{
	(void)x, (void)in, (void)grad;
	return 0;
}

static void sum_forward(struct task *t)
{
	const struct node *x = t->x, *a = &t->net->nodes[x->in[0]], *b = &t->net->nodes[x->in[1]];

	for (struct chunk c = chunks(t, x->h, x->w, MAX(64, CHUNK_FLOATS / x->ld / 4)); chunk_next(&c);) {
		struct affine fa = affine_of(t, x->in[0], c.split), fb = affine_of(t, x->in[1], c.split);
		int64_t rows = (int64_t)c.images * (c.y1 - c.y0) * x->w;
		float *out = raw_at(t, t->id, c.n, c.y0);

		t->net->kernels->read(out, raw_at(t, x->in[0], c.n, c.y0), rows, x->ld, &fa, NULL, a->act, false);
		t->net->kernels->read(out, raw_at(t, x->in[1], c.n, c.y0), rows, x->ld, &fb, NULL, b->act, true);
	}
}

static void sum_backward(struct task *t)
{
	const struct node *x = t->x;

	for (struct chunk c = chunks(t, x->h, x->w, MAX(64, CHUNK_FLOATS / x->ld / 4)); chunk_next(&c);) {
		if (c.y1 < x->h)
			continue;
		for (int s = 0; s < 2; s++)
			add_gradient(t, s, c.n, c.images, d_at(t, t->id, c.n, 0));
	}
}

const struct op op_sum = { { "sum", "sum of two nodes", NULL }, sum_forward, sum_backward, sum_scratch };
