/*
 * filters.c - what has a weight, in ONNX: convolutions and linear layers
 *
 * A linear layer of tokens is a product with the weight transposed; of one pixel an image a Gemm, of more a convolution of 1x1.
 */
#include "lib/nn/onnx/graph.h"

/* A node's weight in torchvision's layout, and its bias (NULL: none): where batch norm is not kept it is in both. */
struct filters {
	const struct net_tensor *t;
	float *weight, *bias;
};

static struct filters read_filters(const struct graph *g, const struct node *x)
{
	struct filters f = { .t = graph_find(g, x->weight, false) };
	float *scale = xcalloc(x->c, sizeof(*scale));
	bool folds = x->gamma >= 0 && !g->keeps_norm;

	f.weight = xmalloc(f.t->count * sizeof(float));
	net_export(g->plan->net, f.t, g->params, f.weight);
	if (x->bias >= 0 || folds)
		f.bias = xcalloc(x->c, sizeof(float));
	if (folds)
		graph_affine(g, x, scale, f.bias);
	for (int c = 0; folds && c < x->c; c++)
		for (int64_t i = 0, n = f.t->count / x->c; i < n; i++)
			f.weight[c * n + i] *= scale[c];
	for (int c = 0; x->bias >= 0 && c < x->c; c++)
		f.bias[c] += (folds ? scale[c] : 1) * g->params[x->bias + c];
	free(scale);
	return f;
}

/* Without a bias of its own it is the norm's. */
static const char *put_bias(struct graph *g, const struct node *x, const struct filters *f)
{
	int64_t offset = x->bias >= 0 ? x->bias : x->beta;

	return f->bias ? graph_tensor(g, graph_find(g, offset, false)->name, 1, &(int64_t){ x->c }, f->bias) : NULL;
}

static const char *convolve(struct graph *g, const struct node *x, const struct filters *f)
{
	const struct node *in = &g->plan->nodes[x->in[0]];
	int64_t shape[4] = { x->c, f->t->shape[1], x->k, x->k };
	const char *value = graph_in(g, x, 0), *weight = graph_tensor(g, f->t->name, 4, shape, f->weight);

	return graph_op(g, "Conv", IN(value, weight, put_bias(g, x, f)),
			ATTRIBUTES(MANY("dilations", 2, 1, 1), ONE("group", in->c / f->t->shape[1]),
				   MANY("kernel_shape", 2, x->k, x->k), MANY("pads", 4, x->pad, x->pad, x->pad, x->pad),
				   MANY("strides", 2, x->stride, x->stride)));
}

/* (in, out). */
static const char *put_transposed(struct graph *g, const struct node *x, const struct filters *f)
{
	int64_t in = f->t->shape[1], shape[2] = { in, x->c };
	float *values = xmalloc(f->t->count * sizeof(*values));
	const char *name;

	for (int64_t i = 0; i < in; i++)
		for (int64_t c = 0; c < x->c; c++)
			values[i * x->c + c] = f->weight[c * in + i];
	name = graph_tensor(g, f->t->name, 2, shape, values);
	free(values);
	return name;
}

static const char *multiply_tokens(struct graph *g, const struct node *x, const struct filters *f)
{
	const char *value = graph_in(g, x, 0), *bias;

	value = graph_op(g, "MatMul", IN(value, put_transposed(g, x, f)), NO_ATTRIBUTES);
	bias = put_bias(g, x, f);
	return bias ? graph_op(g, "Add", IN(value, bias), NO_ATTRIBUTES) : value;
}

static const char *multiply_pixel(struct graph *g, const struct node *x, const struct filters *f)
{
	const char *value = graph_in(g, x, 0), *weight;

	if (*graph_rank(g, x) == 4)
		value = graph_op(g, "Flatten", IN(value), ATTRIBUTES(ONE("axis", 1)));
	*graph_rank(g, x) = 2;
	weight = graph_tensor(g, f->t->name, 2, f->t->shape, f->weight);
	return graph_op(g, "Gemm", IN(value, weight, put_bias(g, x, f)), ATTRIBUTES(ONE("transB", 1)));
}

const char *graph_filters(struct graph *g, const struct node *x)
{
	struct filters f = read_filters(g, x);
	const char *value;

	if (*graph_rank(g, x) == 3)
		value = multiply_tokens(g, x, &f);
	else if (f.t->rank == 4 || x->h * x->w > 1)
		value = convolve(g, x, &f);
	else
		value = multiply_pixel(g, x, &f);
	free(f.weight);
	free(f.bias);
	return value;
}
