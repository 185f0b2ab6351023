/*
 * op_attention.c - softmax(Q K^T / sqrt(d)) V of every head (Vaswani et al. 2017, eq. 1)
 *
 * The input holds queries, keys and values side by side, each (heads, d). Images and heads go one by one through a scratch that
 * stays in the cache; probabilities are never stored but computed again in the backward pass. A node with fewer pixels than its
 * input has only that many queries, the first ones: the last block of a network of which only the class token is used.
 */
#include "lib/nn/engine.h"

#include <math.h>

/* One image; arrays are of t->scratch. */
struct heads {
	int keys, queries, d;
	int pitch, ld, out;      /* of rows of scores, of the input, of the output */
	float scale;
	float *in, *in_grad;     /* queries, keys and values of all heads */
	float *p, *dp;           /* (queries, pitch): probabilities of a head and their gradient */
	float *values, *d_out;   /* the output, its gradient */
};

static int pitch_of(const struct node *in)
{
	return (in->h * in->w + LANES - 1) / LANES * LANES;
}

static size_t attention_scratch(const struct node *x, const struct node *in, bool grad)
{
	size_t tokens = (size_t)in->h * in->w * in->ld, scores = (size_t)x->h * x->w * pitch_of(in);

	return sizeof(float) * ((grad ? 2 : 1) * (tokens + scores) + (grad ? 2 : 1) * (size_t)x->h * x->w * x->ld);
}

static struct heads open_heads(const struct task *t, bool grad)
{
	const struct node *x = t->x, *in = t->in;
	struct heads h = { .keys = in->h * in->w, .queries = x->h * x->w, .d = x->c / x->heads, .pitch = pitch_of(in), .ld = in->ld,
			   .out = x->ld };

	h.scale = 1 / sqrtf(h.d);
	h.in = (float *)t->scratch;
	h.p = h.in + (size_t)h.keys * h.ld;
	h.values = h.p + (size_t)h.queries * h.pitch;
	if (grad) {
		h.in_grad = h.values + (size_t)h.queries * h.out;
		h.dp = h.in_grad + (size_t)h.keys * h.ld;
		h.d_out = h.dp + (size_t)h.queries * h.pitch;
	}
	return h;
}

/* C = op(A) op(B) of floats. */
static void matmul(const struct task *t, bool trans_a, bool trans_b, int m, int n, int k, const float *a, int lda, const float *b,
		   int ldb, float *c, int ldc)
{
	multiply(t, &(struct product){ .element = F32, .trans_a = trans_a, .trans_b = trans_b, .m = m, .n = n, .k = k, .a = a,
			.lda = lda, .b = b, .ldb = ldb, .c = c, .ldc = ldc });
}

static void probabilities(const struct task *t, const struct heads *h, const float *q, const float *k)
{
	matmul(t, false, true, h->queries, h->keys, h->d, q, h->ld, k, h->ld, h->p, h->pitch);
	t->net->kernels[F32]->softmax(h->p, h->queries, h->keys, h->pitch, h->scale);
}

static void attention_forward(struct task *t)
{
	struct heads h = open_heads(t, false);
	int c = t->x->c;

	for (int n = t->n0; n < t->n1; n++) {
		read_value(t, t->x->in[0], -1, n, 1, 0, t->in->h, h.in, F32, t->in->w);
		for (int i = 0; i < c; i += h.d) {
			probabilities(t, &h, h.in + i, h.in + c + i);
			matmul(t, false, false, h.queries, h.d, h.keys, h.p, h.pitch, h.in + 2 * c + i, h.ld,
					      h.values + i, h.out);
		}
		put(t, n, 0, h.values, h.queries, split_of(t->p, n));
	}
}

/* One head: from the gradient of its output to those of its queries, keys and values. */
static void head_backward(const struct task *t, const struct heads *h, int at, const float *d)
{
	int c = t->x->c;
	const float *q = h->in + at, *k = q + c, *v = k + c;
	float *dq = h->in_grad + at, *dk = dq + c, *dv = dk + c;

	probabilities(t, h, q, k);
	matmul(t, true, false, h->keys, h->d, h->queries, h->p, h->pitch, d, h->out, dv, h->ld);
	matmul(t, false, true, h->queries, h->keys, h->d, d, h->out, v, h->ld, h->dp, h->pitch);
	t->net->kernels[F32]->softmax_back(h->dp, h->p, h->queries, h->keys, h->pitch, h->scale);
	matmul(t, false, false, h->queries, h->d, h->keys, h->dp, h->pitch, k, h->ld, dq, h->ld);
	matmul(t, true, false, h->keys, h->d, h->queries, h->dp, h->pitch, q, h->ld, dk, h->ld);
}

static void attention_backward(struct task *t)
{
	struct heads h = open_heads(t, true);

	memset(h.in_grad, 0, (size_t)h.keys * h.ld * sizeof(float));   /* who asks nothing gets none */
	for (int n = t->n0; n < t->n1; n++) {
		read_value(t, t->x->in[0], -1, n, 1, 0, t->in->h, h.in, F32, t->in->w);
		read_gradient(t, n, 1, 0, t->x->h, h.d_out, F32, t->x->w);
		for (int i = 0; i < t->x->c; i += h.d)
			head_backward(t, &h, i, h.d_out + i);
		give(t, 0, n, 1, 0, t->in->h, h.in_grad);
	}
}

const struct op op_attention = {
	{ "attention", "self-attention", NULL }, attention_forward, attention_backward, attention_scratch
};
