/*
 * op_stem.c - 3x3 convolution of views, the first layer of most networks
 *
 * Its patches are 27 numbers long: too short for a product to be worth copying them. Each of three rows of taps is nine numbers
 * in a row of the normalised view, so the loops run over these, with the filters of a vector of channels at once. Views need no
 * gradient.
 */
#include "lib/nn/engine/engine.h"
#include "lib/nn/onnx/graph.h"

#define TAPS (STEM_SIDE * STEM_TAPS)

static int stem_target(const struct node *x)
{
	return MAX(x->w, CHUNK_BYTES / (int)sizeof(float) / (x->ld + x->stride * x->stride * 3));
}

/* Most rows of a chunk. */
static int stem_band(const struct node *x)
{
	return MIN(x->h, stem_target(x) / x->w);
}

struct stem_room {
	float *weight, *sum;     /* (taps, ld) */
	struct tile view;
	float *out;              /* the output or its gradient */
};

static size_t tile_floats(const struct node *x, const struct node *in)
{
	return (size_t)MIN(in->h, (stem_band(x) - 1) * x->stride + STEM_SIDE) * tile_width(x, in) * 3 + LANES;
}

static size_t stem_scratch(const struct node *x, const struct node *in, bool grad)
{
	(void)grad;
	return 2 * padded(sizeof(float) * TAPS * x->ld) + padded(sizeof(float) * tile_floats(x, in)) +
	       sizeof(float) * stem_band(x) * x->w * x->ld;
}

static struct stem_room open_room(const struct task *t)
{
	const struct node *x = t->x;
	size_t filters = padded(sizeof(float) * TAPS * x->ld), tile = padded(sizeof(float) * tile_floats(x, t->in));
	char *at = t->scratch + 2 * filters;
	struct stem_room r = { (float *)t->scratch, (float *)(t->scratch + filters),
			       { at, F32, 0, 0, 0, x->pad, tile_width(x, t->in), 3 }, (float *)(at + tile) };

	for (int i = 0; i < TAPS; i++)
		memcpy(r.weight + (int64_t)i * x->ld, t->params + x->weight + (int64_t)i * x->c, x->c * sizeof(float));
	memset(at, 0, tile);   /* borders */
	return r;
}

static struct chunk bands(const struct task *t)
{
	struct chunk c = chunk_over(t, t->x->h, t->x->w, stem_target(t->x));

	c.rows = MIN(c.rows, stem_band(t->x));
	c.group = 1;
	return c;
}

/* Row y of a chunk: only rows of taps from *ky on that lie inside the view. */
static struct stem_rows row_of(const struct task *t, const struct chunk *c, const struct stem_room *r, int y, int *ky)
{
	const struct node *x = t->x;
	int top = y * x->stride - x->pad, kh = inside(top, STEM_SIDE, t->in->h, ky);

	return (struct stem_rows){ .out = r->out + (int64_t)(y - c->y0) * x->w * x->ld,
				   .in = tile_at(&r->view, 0, top + *ky, -x->pad),
				   .count = x->w,
				   .step = 3 * x->stride,
				   .in_row = 3 * r->view.w,
				   .kh = kh,
				   .ld = x->ld };
}

static void stem_forward(struct task *t)
{
	const struct node *x = t->x;
	struct stem_room r = open_room(t);
	int ky;

	for (struct chunk c = bands(t); chunk_next(&c);) {
		r.view = tile_values(t, &c, r.view.base, F32);
		for (int y = c.y0; y < c.y1; y++) {
			struct stem_rows rows = row_of(t, &c, &r, y, &ky);

			t->plan->kernels[F32]->stem(&rows, r.weight + (int64_t)ky * STEM_TAPS * x->ld);
		}
		value_put(t, c.n, c.y0, r.out, (int64_t)(c.y1 - c.y0) * x->w);
	}
}

/* Sums of a chunk stay apart from the total, so that they keep their digits. */
static void stem_backward(struct task *t)
{
	const struct node *x = t->x;
	struct stem_room r = open_room(t);
	int ky;

	for (struct chunk c = bands(t); chunk_next(&c);) {
		memset(r.sum, 0, sizeof(float) * TAPS * x->ld);
		r.view = tile_values(t, &c, r.view.base, F32);
		gradient_read(t, c.n, 1, c.y0, c.y1, r.out, F32, x->w);
		gradient_bias(t, r.out, F32, (int64_t)(c.y1 - c.y0) * x->w);
		for (int y = c.y0; y < c.y1; y++) {
			struct stem_rows rows = row_of(t, &c, &r, y, &ky);

			t->plan->kernels[F32]->stem_weight(&rows, r.sum + (int64_t)ky * STEM_TAPS * x->ld);
		}
		for (int i = 0; i < TAPS; i++)
			t->plan->kernels[F32]->add(t->weight_grad + (int64_t)i * x->c, r.sum + (int64_t)i * x->ld, x->c);
	}
}

static struct cost stem_cost(const struct node *x, const struct node *in)
{
	(void)in;
	return op_cost_filters(x, F32);
}

const struct op op_stem = {
	.entry = { "stem", "3x3 convolution of views", NULL },
	.forward = stem_forward,
	.backward = stem_backward,
	.scratch = stem_scratch,
	.cost = stem_cost,
	.onnx = graph_filters,
};
