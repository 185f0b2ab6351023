/*
 * op_shuffle.c - two halves of the channels: put together and shuffled, taken apart (Ma et al. 2018, fig. 3c and 3d)
 *
 * Concatenating two arrays of c channels and shuffling them in two groups takes their channels in turn: channel 2i is the
 * second input's i, channel 2i+1 the first's. What a unit passes on unchanged, and what goes through its branch, are slices of
 * the channels.
 */
#include "lib/nn/engine/engine.h"
#include "lib/nn/onnx/graph.h"

/* Pixels of a chunk, so few that all stays in the nearest cache. */
static int target_of(const struct node *x, const struct node *in)
{
	return MAX(16, CHUNK_BYTES / 24 / (int)sizeof(float) / (x->ld + in->ld));
}

static struct chunk chunks_of(const struct task *t)
{
	return chunk_over(t, t->x->h, t->x->w, target_of(t->x, t->in));
}

/* Rows of the output, then of an input. */
static size_t scratch_of(const struct node *x, const struct node *in, bool grad)
{
	(void)grad;
	return sizeof(float) * (x->w + target_of(x, in)) * (x->ld + in->ld);
}

static float *input_of(const struct task *t)
{
	return (float *)t->scratch + (size_t)(t->x->w + target_of(t->x, t->in)) * t->x->ld;
}

static int64_t rows_of(const struct task *t, const struct chunk *c)
{
	return (int64_t)c->images * (c->y1 - c->y0) * t->x->w;
}

static void shuffle_forward(struct task *t)
{
	const struct node *x = t->x;
	float *out = (float *)t->scratch, *half = input_of(t);
	int ld = t->in->ld;

	memset(out, 0, (size_t)(x->w + target_of(x, t->in)) * x->ld * sizeof(float));   /* the padding */
	for (struct chunk c = chunks_of(t); chunk_next(&c);) {
		for (int s = 0; s < 2; s++) {
			value_read(t, x->in[s], -1, c.n, c.images, c.y0, c.y1, half, F32, x->w);
			for (int64_t r = 0; r < rows_of(t, &c); r++)
				for (int i = 0; i < t->in->c; i++)
					out[r * x->ld + 2 * i + 1 - s] = half[r * ld + i];
		}
		value_put(t, c.n, c.y0, out, rows_of(t, &c));
	}
}

static void shuffle_backward(struct task *t)
{
	const struct node *x = t->x;
	float *d = (float *)t->scratch, *half = input_of(t);
	int ld = t->in->ld;

	memset(half, 0, (size_t)(x->w + target_of(x, t->in)) * ld * sizeof(float));
	for (struct chunk c = chunks_of(t); chunk_next(&c);) {
		gradient_read(t, c.n, c.images, c.y0, c.y1, d, F32, x->w);
		for (int s = 0; s < 2; s++) {
			for (int64_t r = 0; r < rows_of(t, &c); r++)
				for (int i = 0; i < t->in->c; i++)
					half[r * ld + i] = d[r * x->ld + 2 * i + 1 - s];
			gradient_give(t, s, c.n, c.images, c.y0, c.y1, half);
		}
	}
}

static const char *shuffle_onnx(struct graph *g, const struct node *x)
{
	int64_t c = x->c / 2;
	const char *value = graph_op(g, "Concat", IN(graph_in(g, x, 1), graph_in(g, x, 0)), ATTRIBUTES(ONE("axis", 1)));

	value = graph_reshape(g, value, 5, (int64_t[]){ 0, 2, c, x->h, x->w });
	value = graph_transpose(g, value, 5, (int64_t[]){ 0, 2, 1, 3, 4 });
	return graph_reshape(g, value, 4, (int64_t[]){ 0, x->c, x->h, x->w });
}

const struct op op_shuffle = {
	.entry = { "shuffle", "channels of two nodes in turn", NULL },
	.forward = shuffle_forward,
	.backward = shuffle_backward,
	.scratch = scratch_of,
	.onnx = shuffle_onnx,
	.blind = true,
};

/* --- a slice of the channels --- */

static void slice_forward(struct task *t)
{
	const struct node *x = t->x;
	float *out = (float *)t->scratch, *in = input_of(t);

	memset(out, 0, (size_t)(x->w + target_of(x, t->in)) * x->ld * sizeof(float));
	for (struct chunk c = chunks_of(t); chunk_next(&c);) {
		value_read(t, x->in[0], -1, c.n, c.images, c.y0, c.y1, in, F32, x->w);
		for (int64_t r = 0; r < rows_of(t, &c); r++)
			memcpy(out + r * x->ld, in + r * t->in->ld + x->from, x->c * sizeof(float));
		value_put(t, c.n, c.y0, out, rows_of(t, &c));
	}
}

static void slice_backward(struct task *t)
{
	const struct node *x = t->x;
	float *d = (float *)t->scratch, *in = input_of(t);

	memset(in, 0, (size_t)(x->w + target_of(x, t->in)) * t->in->ld * sizeof(float));
	for (struct chunk c = chunks_of(t); chunk_next(&c);) {
		gradient_read(t, c.n, c.images, c.y0, c.y1, d, F32, x->w);
		for (int64_t r = 0; r < rows_of(t, &c); r++)
			memcpy(in + r * t->in->ld + x->from, d + r * x->ld, x->c * sizeof(float));
		gradient_give(t, 0, c.n, c.images, c.y0, c.y1, in);
	}
}

static const char *slice_onnx(struct graph *g, const struct node *x)
{
	return graph_slice(g, graph_in(g, x, 0), 1, x->from, x->c);
}

const struct op op_slice = {
	.entry = { "slice", "some of the channels", NULL },
	.forward = slice_forward,
	.backward = slice_backward,
	.scratch = scratch_of,
	.onnx = slice_onnx,
	.blind = true,
};
