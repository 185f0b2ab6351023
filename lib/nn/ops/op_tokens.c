/*
 * op_tokens.c - images as sequences (Dosovitskiy et al. 2021, eq. 1): a row of tokens, the class token first; taking it out again
 *
 * The weight is the class token, then the position embedding. Where that was laid out for another grid of patches than the views
 * have, a resized one is its factor, and its gradient goes the same way back.
 */
#include "lib/nn/engine/engine.h"
#include "lib/nn/onnx/graph.h"
#include "lib/nn/model/positions.h"

static size_t image_bytes(const struct node *x)
{
	return sizeof(float) * x->h * x->w * x->ld;
}

static bool is_resized(const struct node *x, const struct node *in)
{
	return in->h != x->grid[0] || in->w != x->grid[1];
}

/* Of a position embedding of the node's own grid. */
static size_t positions_bytes(const struct node *x, const struct node *in)
{
	return is_resized(x, in) ? sizeof(float) * x->w * x->c : 0;
}

static size_t tokens_scratch(const struct node *x, const struct node *in, bool grad)
{
	return image_bytes(x) + (grad ? positions_bytes(x, in) : 0);
}

static size_t tokens_factor_bytes(const struct node *x, const struct node *in, enum factor which)
{
	return which == FACTOR_FORWARD ? positions_bytes(x, in) : 0;
}

static void tokens_factor_make(const struct task *t, const struct node *x, const struct node *in, enum factor which, void *to)
{
	(void)which;
	if (t->thread == 0)
		positions_resize(t->params + x->weight + x->c, x->grid[0], x->grid[1], to, in->h, in->w, x->c);
}

static void tokens_forward(struct task *t)
{
	const struct node *x = t->x;
	const float *cls = t->params + x->weight, *resized = t->p->state[t->id].factor[FACTOR_FORWARD];
	const float *position = resized ? resized : cls + x->c;
	float *tokens = (float *)t->scratch;

	for (int n = t->n0; n < t->n1; n++) {
		memset(tokens, 0, x->ld * sizeof(float));
		memcpy(tokens, cls, x->c * sizeof(float));
		value_read(t, x->in[0], -1, n, 1, 0, t->in->h, tokens + x->ld, F32, t->in->w);
		for (int i = 0; i < x->w; i++)
			t->plan->kernels[F32]->add(tokens + (int64_t)i * x->ld, position + (int64_t)i * x->c, x->c);
		value_put(t, n, 0, tokens, x->w);
	}
}

static void tokens_backward(struct task *t)
{
	const struct node *x = t->x;
	float *cls = t->weight_grad, *d = (float *)t->scratch;
	bool resized = is_resized(x, t->in);
	float *position = resized ? d + (int64_t)x->w * x->ld : cls + x->c;

	memset(position, 0, resized ? positions_bytes(x, t->in) : 0);
	for (int n = t->n0; n < t->n1; n++) {
		gradient_read(t, n, 1, 0, x->h, d, F32, x->w);
		t->plan->kernels[F32]->add(cls, d, x->c);
		for (int i = 0; i < x->w; i++)
			t->plan->kernels[F32]->add(position + (int64_t)i * x->c, d + (int64_t)i * x->ld, x->c);
		gradient_give(t, 0, n, 1, 0, t->in->h, d + x->ld);
	}
	if (resized)
		positions_resize_back(cls + x->c, x->grid[0], x->grid[1], position, t->in->h, t->in->w, x->c);
}

/* The class token and the position embedding are one constant, added to tokens behind a zero: so the batch may be any. */
static const char *tokens_onnx(struct graph *g, const struct node *x)
{
	const float *cls = g->params + x->weight;
	float *added = xmalloc(image_bytes(x));
	int64_t shape[3] = { 1, x->w, x->c };
	const char *value = graph_reshape(g, graph_in(g, x, 0), 3, (int64_t[]){ 0, x->c, x->w - 1 });

	value = graph_transpose(g, value, 3, (int64_t[]){ 0, 2, 1 });
	value = graph_op(g, "Pad", IN(value, INTS(g, 0, 1, 0, 0, 0, 0)), NO_ATTRIBUTES);
	memcpy(added, cls + x->c, sizeof(float) * x->w * x->c);
	for (int c = 0; c < x->c; c++)
		added[c] += cls[c];
	value = graph_op(g, "Add", IN(value, graph_tensor(g, "cls_token+pos_embed", 3, shape, added)), NO_ATTRIBUTES);
	free(added);
	*graph_rank(g, x) = 3;
	return value;
}

const struct op op_tokens = {
	.entry = { "tokens", "pixels as tokens behind a class token, with positions", NULL },
	.forward = tokens_forward,
	.backward = tokens_backward,
	.scratch = tokens_scratch,
	.factor_bytes = tokens_factor_bytes,
	.factor_make = tokens_factor_make,
	.onnx = tokens_onnx,
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

static const char *token_onnx(struct graph *g, const struct node *x)
{
	return graph_slice(g, graph_in(g, x, 0), 1, 0, 1);
}

const struct op op_token = {
	.entry = { "token", "the first token", NULL },
	.forward = token_forward,
	.backward = token_backward,
	.scratch = token_scratch,
	.onnx = token_onnx,
	.blind = true,
};
