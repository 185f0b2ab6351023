/*
 * op_tokens.c - images as sequences (Dosovitskiy et al. 2021, eq. 1): a row of tokens, the class token first; taking it out again
 *
 * The weight is the class token, then the position embedding.
 */
#include "lib/nn/engine/engine.h"

static size_t image_bytes(const struct node *x)
{
	return sizeof(float) * x->h * x->w * x->ld;
}

static size_t tokens_scratch(const struct node *x, const struct node *in, bool grad)
{
	(void)in, (void)grad;
	return image_bytes(x);
}

static void tokens_forward(struct task *t)
{
	const struct node *x = t->x;
	const float *cls = t->params + x->weight, *position = cls + x->c;
	float *tokens = (float *)t->scratch;

	for (int n = t->n0; n < t->n1; n++) {
		memset(tokens, 0, x->ld * sizeof(float));
		memcpy(tokens, cls, x->c * sizeof(float));
		value_read(t, x->in[0], -1, n, 1, 0, t->in->h, tokens + x->ld, F32, t->in->w);
		for (int i = 0; i < x->w; i++)
			t->net->kernels[F32]->add(tokens + (int64_t)i * x->ld, position + (int64_t)i * x->c, x->c);
		value_put(t, n, 0, tokens, x->w);
	}
}

static void tokens_backward(struct task *t)
{
	const struct node *x = t->x;
	float *cls = t->weight_grad, *position = cls + x->c, *d = (float *)t->scratch;

	for (int n = t->n0; n < t->n1; n++) {
		gradient_read(t, n, 1, 0, x->h, d, F32, x->w);
		t->net->kernels[F32]->add(cls, d, x->c);
		for (int i = 0; i < x->w; i++)
			t->net->kernels[F32]->add(position + (int64_t)i * x->c, d + (int64_t)i * x->ld, x->c);
		gradient_give(t, 0, n, 1, 0, t->in->h, d + x->ld);
	}
}

const struct op op_tokens = {
	.entry = { "tokens", "pixels as tokens behind a class token, with positions", NULL },
	.forward = tokens_forward,
	.backward = tokens_backward,
	.scratch = tokens_scratch,
	.blind = true,
	.wide = true,
};

/* --- the class token --- */

static size_t token_scratch(const struct node *x, const struct node *in, bool grad)
{
	(void)x, (void)grad;
	return image_bytes(in);
}

static void token_forward(struct task *t)
{
	for (int n = t->n0; n < t->n1; n++) {
		value_read(t, t->x->in[0], -1, n, 1, 0, 1, t->scratch, F32, t->in->w);
		value_put(t, n, 0, (float *)t->scratch, 1);
	}
}

static void token_backward(struct task *t)
{
	memset(t->scratch, 0, image_bytes(t->in));
	for (int n = t->n0; n < t->n1; n++) {
		gradient_read(t, n, 1, 0, 1, t->scratch, F32, 1);
		gradient_give(t, 0, n, 1, 0, t->in->h, (float *)t->scratch);
	}
}

const struct op op_token = {
	.entry = { "token", "the first token", NULL },
	.forward = token_forward,
	.backward = token_backward,
	.scratch = token_scratch,
	.blind = true,
};
