/*
 * op_attention.c - softmax(Q K^T / sqrt(d)) V of every head (Vaswani et al. 2017, eq. 1)
 *
 * The input holds queries, keys and values side by side, each (heads, d). Images and heads go one by one through a scratch that
 * stays in the cache; probabilities are never stored but computed again in the backward pass. A node with fewer pixels than its
 * input has only that many queries, the first ones: the last block of a network of which only the class token is used. Products
 * may have bf16 factors; probabilities and their gradients are rounded for the next one as they are made.
 */
#include "lib/nn/engine/engine.h"
#include "lib/nn/onnx/graph.h"

#include <math.h>

/* One image; arrays are of t->scratch. */
struct heads {
	int keys, queries, d;
	int pitch, ld, out;      /* of rows of scores, of the input, of the output */
	float scale;
	enum dtype e;            /* of the factors */
	void *in;                /* queries, keys and values of all heads */
	void *factor, *d_out;    /* bf16 probabilities or their gradient; the output's gradient */
	float *p, *dp;           /* (queries, pitch): probabilities of a head and their gradient */
	float *values, *in_grad; /* the output; the input's gradient */
};

static int pitch_of(const struct node *in)
{
	return (in->h * in->w + LANES - 1) / LANES * LANES;
}

/* A part of the scratch; base NULL: only counts. */
static void *take(char *base, size_t *used, int64_t elements, enum dtype e)
{
	void *at = base ? base + *used : NULL;

	*used += padded(elements * element_size(e));
	return at;
}

static struct heads lay_heads(const struct node *x, const struct node *in, bool grad, char *base, size_t *used)
{
	struct heads h = { .keys = in->h * in->w, .queries = x->h * x->w, .d = x->c / x->heads, .pitch = pitch_of(in),
			   .ld = in->ld, .out = x->ld, .e = x->factor };
	int64_t tokens = (int64_t)h.keys * h.ld, scores = (int64_t)h.queries * h.pitch, values = (int64_t)h.queries * h.out;

	h.scale = 1 / sqrtf(h.d);
	h.in = take(base, used, tokens, h.e);
	h.p = take(base, used, scores, F32);
	h.factor = h.e == F32 ? NULL : take(base, used, scores, h.e);
	h.values = take(base, used, values, F32);
	if (grad) {
		h.in_grad = take(base, used, tokens, F32);
		h.dp = take(base, used, scores, F32);
		h.d_out = take(base, used, values, h.e);
	}
	return h;
}

static size_t attention_scratch(const struct node *x, const struct node *in, bool grad)
{
	size_t used = 0;

	lay_heads(x, in, grad, NULL, &used);
	return used;
}

static struct heads open_heads(const struct task *t, bool grad)
{
	size_t used = 0;

	return lay_heads(t->x, t->in, grad, t->scratch, &used);
}

/* C = op(A) op(B) */
static void matmul(const struct task *t, bool trans_a, bool trans_b, int m, int n, int k, const void *a, int lda, const void *b,
		   int ldb, float *c, int ldc)
{
	task_multiply(t, &(struct product){ .element = t->x->factor, .trans_a = trans_a, .trans_b = trans_b, .m = m, .n = n,
			.k = k, .a = a, .lda = lda, .b = b, .ldb = ldb, .c = c, .ldc = ldc });
}

/* Queries, keys or values (which 0, 1, 2) of the head that begins at channel at. */
static const void *part_of(const struct task *t, const struct heads *h, int which, int at)
{
	return element_at(h->in, h->e, which * t->x->c + at);
}

/* Probabilities, returned as a factor. */
static const void *probabilities(const struct task *t, const struct heads *h, int at)
{
	matmul(t, false, true, h->queries, h->keys, h->d, part_of(t, h, 0, at), h->ld, part_of(t, h, 1, at), h->ld, h->p,
	       h->pitch);
	t->plan->kernels[F32]->softmax(h->p, h->queries, h->keys, h->pitch, h->scale, h->factor);
	return h->factor ? h->factor : (void *)h->p;
}

static void attention_forward(struct task *t)
{
	struct heads h = open_heads(t, false);

	for (int n = t->n0; n < t->n1; n++) {
		value_read(t, t->x->in[0], -1, n, 1, 0, t->in->h, h.in, h.e, t->in->w);
		for (int at = 0; at < t->x->c; at += h.d) {
			const void *p = probabilities(t, &h, at);

			matmul(t, false, false, h.queries, h.d, h.keys, p, h.pitch, part_of(t, &h, 2, at), h.ld, h.values + at,
			       h.out);
		}
		value_put(t, n, 0, h.values, h.queries);
	}
}

/* One head: from the gradient of its output to those of its queries, keys and values. */
static void head_backward(const struct task *t, const struct heads *h, int at)
{
	const void *d = element_at(h->d_out, h->e, at), *p = probabilities(t, h, at);
	float *dq = h->in_grad + at, *dk = dq + t->x->c, *dv = dk + t->x->c;

	matmul(t, true, false, h->keys, h->d, h->queries, p, h->pitch, d, h->out, dv, h->ld);
	matmul(t, false, true, h->queries, h->keys, h->d, d, h->out, part_of(t, h, 2, at), h->ld, h->dp, h->pitch);
	t->plan->kernels[F32]->softmax_back(h->dp, h->p, h->queries, h->keys, h->pitch, h->scale, h->factor);
	p = h->factor ? h->factor : (void *)h->dp;
	matmul(t, false, false, h->queries, h->d, h->keys, p, h->pitch, part_of(t, h, 1, at), h->ld, dq, h->ld);
	matmul(t, true, false, h->keys, h->d, h->queries, p, h->pitch, part_of(t, h, 0, at), h->ld, dk, h->ld);
}

static void attention_backward(struct task *t)
{
	struct heads h = open_heads(t, true);

	memset(h.in_grad, 0, (size_t)h.keys * h.ld * sizeof(float));   /* who asks nothing gets none */
	for (int n = t->n0; n < t->n1; n++) {
		value_read(t, t->x->in[0], -1, n, 1, 0, t->in->h, h.in, h.e, t->in->w);
		gradient_read(t, n, 1, 0, t->x->h, h.d_out, h.e, t->x->w);
		for (int at = 0; at < t->x->c; at += h.d)
			head_backward(t, &h, at);
		gradient_give(t, 0, n, 1, 0, t->in->h, h.in_grad);
	}
}

/* Two products: scores, and values by probabilities; what is written and read is counted with the linear layers around. */
static struct cost attention_cost(const struct node *x, const struct node *in)
{
	return (struct cost){ 2 * 2.0 * x->h * x->w * in->h * in->w * x->c, x->factor, 0 };
}

/* Queries, keys or values as the product of all heads reads them: order, behind (N, tokens, heads, d). */
static const char *heads_onnx(struct graph *g, const struct node *x, const char *part, int tokens, const int64_t order[4])
{
	return graph_transpose(g, graph_reshape(g, part, 4, (int64_t[]){ 0, tokens, x->heads, x->c / x->heads }), 4, order);
}

static const char *attention_onnx(struct graph *g, const struct node *x)
{
	static const int64_t rows[4] = { 0, 2, 1, 3 }, columns[4] = { 0, 2, 3, 1 };
	const struct node *in = &g->plan->nodes[x->in[0]];
	int keys = in->h * in->w, queries = x->h * x->w;
	const char *part[3] = { NULL }, *p;

	graph_outputs(g, "Split", IN(graph_in(g, x, 0)), ATTRIBUTES(ONE("axis", -1)), 3, part);
	if (queries < keys)
		part[0] = graph_slice(g, part[0], 1, 0, queries);
	part[0] = heads_onnx(g, x, part[0], queries, rows);
	part[1] = heads_onnx(g, x, part[1], keys, columns);
	part[2] = heads_onnx(g, x, part[2], keys, rows);
	p = graph_op(g, "MatMul", IN(part[0], part[1]), NO_ATTRIBUTES);
	p = graph_op(g, "Mul", IN(p, graph_number(g, 1 / sqrt(x->c / x->heads))), NO_ATTRIBUTES);
	p = graph_op(g, "Softmax", IN(p), ATTRIBUTES(ONE("axis", -1)));
	p = graph_op(g, "MatMul", IN(p, part[2]), NO_ATTRIBUTES);
	return graph_reshape(g, graph_transpose(g, p, 4, rows), 3, (int64_t[]){ 0, queries, x->c });
}

const struct op op_attention = {
	.entry = { "attention", "self-attention", NULL },
	.forward = attention_forward,
	.backward = attention_backward,
	.scratch = attention_scratch,
	.cost = attention_cost,
	.onnx = attention_onnx,
};
