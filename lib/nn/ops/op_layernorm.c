/*
 * op_layernorm.c - layer norm over the channels of every pixel (Ba et al. 2016)
 *
 * Forward there is nothing to do: its value is computed from the input's whenever it is read. Backward, mean and deviation are
 * computed once more from the input's rows, which costs less than storing them. weight is gamma, bias is beta.
 */
#include "lib/nn/engine/engine.h"
#include "lib/nn/onnx/graph.h"

/* The input of an image, its gradient, and the gradient of the output. */
static size_t layernorm_scratch(const struct node *x, const struct node *in, bool grad)
{
	(void)in;
	return grad ? sizeof(float) * 3 * x->h * x->w * x->ld : 0;
}

/* A few rows at a time pass through t->vectors as floats. */
static void layernorm_read(const struct task *t, int node, int n, int images, int y0, int y1, void *dst, enum dtype e, int pitch)
{
	const struct node *x = &t->plan->nodes[node], *in = &t->plan->nodes[x->in[0]];
	struct affine f = norm_affine(t, x->in[0]);
	struct stretch s = value_stretch(x, images, y0, y1, pitch, false);
	int64_t rows = (int64_t)s.images * s.rows * x->w, count;

	for (int i = n; i < n + images; i += s.images)
		for (int y = y0; y < y1; y += s.rows, dst = element_at(dst, e, rows / x->w * pitch * x->ld))
			for (int64_t r = 0; r < rows; r += count) {
				count = MIN(VECTORS, rows - r);
				kernels_of(t, x->in[0])->read_wide(t->vectors,
								   element_at(value_at(t, x->in[0], i, y), in->store, r * x->ld),
								   count, x->ld, &f, NULL, in->act, false);
				t->plan->kernels[e]->layernorm(element_at(dst, e, r * x->ld), t->vectors, count, x->c, x->ld,
							      t->params + x->weight, t->params + x->bias, (float)x->eps);
			}
}

static void layernorm_backward(struct task *t)
{
	const struct node *x = t->x;
	int64_t rows = (int64_t)x->h * x->w;
	float *values = (float *)t->scratch, *gradient = values + rows * x->ld, *dy = gradient + rows * x->ld;
	float *gamma = t->vectors + 2 * x->ld, *beta = gamma + x->ld;

	memset(gradient, 0, rows * x->ld * sizeof(float));   /* the padding too */
	for (int n = t->n0; n < t->n1; n++) {
		memset(gamma, 0, 2 * x->ld * sizeof(float));
		value_read(t, x->in[0], -1, n, 1, 0, x->h, values, F32, x->w);
		gradient_read(t, n, 1, 0, x->h, dy, F32, x->w);
		t->plan->kernels[F32]->layernorm_back(gradient, dy, values, rows, x->c, x->ld,
						t->params + x->weight, (float)x->eps, gamma, beta);
		t->plan->kernels[F32]->add(t->weight_grad, gamma, x->c);
		t->plan->kernels[F32]->add(t->bias_grad, beta, x->c);
		gradient_give(t, 0, n, 1, 0, x->h, gradient);
	}
}

/* Channels come last in tokens, and in features of one pixel. */
static const char *layernorm_onnx(struct graph *g, const struct node *x)
{
	const char *gamma = graph_parameter(g, x->weight), *beta = graph_parameter(g, x->bias);

	return graph_op(g, "LayerNormalization", IN(graph_in(g, x, 0), gamma, beta),
			ATTRIBUTES(ONE("axis", -1), REAL("epsilon", x->eps)));
}

const struct op op_layernorm = {
	.entry = { "layernorm", "layer norm over channels", NULL },
	.backward = layernorm_backward,
	.scratch = layernorm_scratch,
	.read = layernorm_read,
	.onnx = layernorm_onnx,
};
