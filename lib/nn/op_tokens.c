/*
 * op_tokens.c - images as sequences (Dosovitskiy et al. 2021, eq. 1): a row of tokens, the class token first; taking it out again
 *
 * The weight is the class token, then the position embedding.
 */
#include "lib/nn/engine.h"

static size_t image_floats(const struct node *x)
{
	return (size_t)x->h * x->w * x->ld;
}

static size_t tokens_scratch(const struct node *x, const struct node *in, bool grad)
{
	(void)in, (void)grad;
	return image_floats(x);
}

static void tokens_forward(struct task *t)
{
	const struct node *x = t->x;
	const float *cls = t->params + x->weight, *position = cls + x->c;

	for (int n = t->n0; n < t->n1; n++) {
		memset(t->scratch, 0, x->ld * sizeof(float));
		memcpy(t->scratch, cls, x->c * sizeof(float));
		read_value(t, x->in[0], -1, n, 1, 0, t->in->h, t->scratch + x->ld, t->in->w);
		for (int i = 0; i < x->w; i++)
			t->net->kernels->add(t->scratch + (int64_t)i * x->ld, position + (int64_t)i * x->c, x->c);
		write_raw(t, n, 1, t->scratch);
	}
}

static void tokens_backward(struct task *t)
{
	const struct node *x = t->x;
	float *cls = t->weight_grad, *position = cls + x->c;

	for (int n = t->n0; n < t->n1; n++) {
		const float *d = d_at(t, t->id, n, 0);

		t->net->kernels->add(cls, d, x->c);
		for (int i = 0; i < x->w; i++)
			t->net->kernels->add(position + (int64_t)i * x->c, d + (int64_t)i * x->ld, x->c);
		add_gradient(t, 0, n, 1, d + x->ld);
	}
}

const struct op op_tokens = {
	{ "tokens", "pixels as tokens behind a class token, with positions", NULL }, tokens_forward, tokens_backward, tokens_scratch
};

/* --- the class token --- */

static size_t token_scratch(const struct node *x, const struct node *in, bool grad)
{
	(void)x, (void)grad;
	return image_floats(in);
}

static void token_forward(struct task *t)
{
	for (int n = t->n0; n < t->n1; n++) {
		read_value(t, t->x->in[0], -1, n, 1, 0, 1, t->scratch, t->in->w);
		write_raw(t, n, 1, t->scratch);
	}
}

static void token_backward(struct task *t)
{
	memset(t->scratch, 0, image_floats(t->in) * sizeof(float));
	for (int n = t->n0; n < t->n1; n++) {
		memcpy(t->scratch, d_at(t, t->id, n, 0), t->x->ld * sizeof(float));
		add_gradient(t, 0, n, 1, t->scratch);
	}
}

const struct op op_token = { { "token", "the first token", NULL }, token_forward, token_backward, token_scratch };
