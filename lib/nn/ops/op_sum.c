/* op_sum.c - residual sums: written once, because many read them; backward, inputs share the sum's gradient where they can */
#include "lib/nn/engine/engine.h"
#include "lib/nn/onnx/graph.h"

/* Pixels of a chunk, so few that the sum stays in the nearest cache. */
static int sum_target(const struct node *x)
{
	return MAX(16, CHUNK_BYTES / 24 / (int)sizeof(float) / x->ld);
}

static size_t sum_scratch(const struct node *x, const struct node *in, bool grad)
{
	(void)in, (void)grad;
	return sizeof(float) * (x->w + sum_target(x)) * x->ld;
}

static void sum_forward(struct task *t)
{
	const struct node *x = t->x;
	float *sum = (float *)t->scratch;

	for (struct chunk c = chunk_over(t, x->h, x->w, sum_target(x)); chunk_next(&c);) {
		int64_t rows = (int64_t)c.images * (c.y1 - c.y0) * x->w;

		for (int s = 0; s < 2; s++) {
			struct affine f = norm_affine(t, x->in[s]);

			kernels_of(t, x->in[s])->read_wide(sum, value_at(t, x->in[s], c.n, c.y0), rows, x->ld, &f, NULL,
							   t->plan->nodes[x->in[s]].act, s > 0);
		}
		value_put(t, c.n, c.y0, sum, rows);
	}
}

static void sum_backward(struct task *t)
{
	const struct node *x = t->x;
	float *d = (float *)t->scratch;

	for (struct chunk c = chunk_over(t, x->h, x->w, sum_target(x)); chunk_next(&c);) {
		gradient_read(t, c.n, c.images, c.y0, c.y1, d, F32, x->w);
		for (int s = 0; s < 2; s++) {
			bool shared = gradient_at(t, x->in[s], c.n, 0) == gradient_at(t, t->id, c.n, 0);

			if (!shared)
				gradient_give(t, s, c.n, c.images, c.y0, c.y1, d);
			else if (x->last[s])
				gradient_give(t, s, c.n, c.images, c.y0, c.y1, NULL);
		}
	}
}

static const char *sum_onnx(struct graph *g, const struct node *x)
{
	return graph_op(g, "Add", IN(graph_in(g, x, 0), graph_in(g, x, 1)), NO_ATTRIBUTES);
}

const struct op op_sum = {
	.entry = { "sum", "sum of two nodes", NULL },
	.forward = sum_forward,
	.backward = sum_backward,
	.scratch = sum_scratch,
	.onnx = sum_onnx,
	.blind = true,
	.raw = true,
	.shares = true,
};
