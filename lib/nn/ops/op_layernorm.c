/*
 * op_layernorm.c - layer norm over the channels of every pixel (Ba et al. 2016)
 *
 * Forward there is nothing to do: who reads the node computes its value from the input's (value.c). Backward, mean and deviation are
 * computed once more from the input's rows, which costs less than storing them. weight is gamma, bias is beta.
 */
#include "lib/nn/engine/engine.h"

/* The input of an image, its gradient, and the gradient of the output. */
static size_t layernorm_scratch(const struct node *x, const struct node *in, bool grad)
{
	(void)in;
	return grad ? sizeof(float) * 3 * x->h * x->w * x->ld : 0;
}

static void layernorm_forward(struct task *t)
{
	(void)t;
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
		read_value(t, x->in[0], -1, n, 1, 0, x->h, values, F32, x->w);
		read_gradient(t, n, 1, 0, x->h, dy, F32, x->w);
		t->net->kernels[F32]->layernorm_back(gradient, dy, values, rows, x->c, x->ld,
						t->params + x->weight, (float)t->net->bn_eps, gamma, beta);
		t->net->kernels[F32]->add(t->weight_grad, gamma, x->c);
		t->net->kernels[F32]->add(t->bias_grad, beta, x->c);
		give(t, 0, n, 1, 0, x->h, gradient);
	}
}

const struct op op_layernorm = {
	{ "layernorm", "layer norm over channels", NULL }, layernorm_forward, layernorm_backward, layernorm_scratch, NULL
};
