/* conv.c - the table of methods, and the operation that hands its nodes to theirs */
#include "lib/nn/conv/conv.h"
#include "lib/nn/onnx/graph.h"

/* The first one that may. */
static const struct conv_method *const methods[] = { &conv_amx, &conv_whole, &conv_patches };

void conv_link(struct plan *plan)
{
	void *room = plan->backend[F32]->open();

	for (int i = 1; i < plan->count; i++) {
		struct node *x = &plan->nodes[i], *in = &plan->nodes[MAX(0, x->in[0])];

		for (int m = 0; m < ARRAY_SIZE(methods) && x->op == &op_conv && !x->method; m++)
			if (methods[m]->choose(plan, room, x, in))
				x->method = methods[m];
	}
	plan->backend[F32]->close(room);
}

#define EDGE 16   /* of the squares that are transposed at once */

/* to (n, m) = transpose of from (m, n). */
static void transpose(void *to, enum dtype e, const float *from, int m, int n, const struct kernels *k)
{
	float square[EDGE][EDGE];

	for (int j = 0; j < n; j += EDGE)
		for (int i = 0; i < m; i += EDGE) {
			int rows = MIN(EDGE, m - i), columns = MIN(EDGE, n - j);

			for (int a = 0; a < rows; a++)
				for (int b = 0; b < columns; b++)
					square[b][a] = from[(int64_t)(i + a) * n + j + b];
			for (int b = 0; b < columns; b++)
				k->narrow(element_at(to, e, (int64_t)(j + b) * m + i), square[b], rows);
		}
}

void conv_flip(const struct task *t, const struct node *x, const struct node *in, void *to)
{
	int taps = x->k * x->k;

	for (int i = t->thread; i < taps; i += t->p->threads)
		transpose(element_at(to, x->factor, (int64_t)(taps - 1 - i) * in->c * x->c), x->factor,
			  t->params + x->weight + (int64_t)i * in->c * x->c, in->c, x->c, t->plan->kernels[x->factor]);
}

/* --- the operation --- */

static size_t conv_scratch(const struct node *x, const struct node *in, bool grad)
{
	return x->method->scratch(x, in, grad);
}

static size_t conv_factor_bytes(const struct node *x, const struct node *in, enum factor which)
{
	return x->method->factor_bytes(x, in, which);
}

static void conv_factor_make(const struct task *t, const struct node *x, const struct node *in, enum factor which, void *to)
{
	x->method->factor_make(t, x, in, which, to);
}

static void conv_forward(struct task *t)
{
	t->x->method->forward(t);
}

static void conv_backward(struct task *t)
{
	t->x->method->backward(t);
}

static struct cost conv_cost(const struct node *x, const struct node *in)
{
	(void)in;
	return op_cost_filters(x, x->factor);
}

const struct op op_conv = {
	.entry = { "conv", "dense convolution, linear layer", NULL },
	.forward = conv_forward,
	.backward = conv_backward,
	.scratch = conv_scratch,
	.factor_bytes = conv_factor_bytes,
	.factor_make = conv_factor_make,
	.cost = conv_cost,
	.onnx = graph_filters,
	.layer = true,
};
