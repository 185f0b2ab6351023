/*
 * op_depthwise.c - depthwise convolution: one k x k filter for each channel
 *
 * The value of a band of input rows is computed into a scratch with a border of zeros, so that the loops have no edges. The
 * gradient of the input is again a convolution, of the output's gradient: for stride s one for each of the s*s phases of the
 * input's pixels, with the taps that reach that phase.
 */
#include "lib/nn/engine.h"

/* A tile of whole image rows with a border, in scratch: row y of the image at (y - top), pixel x at (x + left). */
struct tile {
	float *base;
	int top, rows, left, w, ld;
};

struct plan {
	int band;                /* output rows of a chunk */
	int in_rows, in_w;       /* of the tile of input values */
	int d_rows, d_w;         /* of the tile of output gradients */
};

static struct plan plan_depthwise(const struct node *x, const struct node *in)
{
	struct plan p = { .in_w = in->w + 2 * x->pad + x->stride, .d_w = x->w + 2 * x->k };
	int64_t row = (int64_t)x->ld * (x->stride * p.in_w + p.d_w);
	int bands;

	p.band = (int)MAX(1, MIN(x->h, 2 * CHUNK_FLOATS / row));
	bands = (x->h + p.band - 1) / p.band;
	p.band = (x->h + bands - 1) / bands;
	p.in_rows = (p.band - 1) * x->stride + x->k;
	p.d_rows = p.band + 2 * x->k;
	return p;
}

static size_t depthwise_scratch(const struct node *x, const struct node *in, bool grad)
{
	struct plan p = plan_depthwise(x, in);

	return (size_t)x->ld * (3 * x->k * x->k + p.in_rows * p.in_w + (grad ? p.d_rows * p.d_w : 0));
}

static struct chunk bands(const struct task *t, const struct plan *p)
{
	struct chunk c = chunks(t, t->x->h, t->x->w, t->x->h * t->x->w);

	c.rows = p->band;
	c.group = 1;
	return c;
}

static void zero(float *at, int64_t pixels, int ld)
{
	memset(at, 0, pixels * ld * sizeof(float));
}

static float *tile_at(const struct tile *t, int y, int x)
{
	return t->base + ((int64_t)(y - t->top) * t->w + x + t->left) * t->ld;
}

/* Fills rows top.. of a tile: what fill() gives for rows inside 0..h, zeros elsewhere. */
static void fill_tile(const struct task *t, const struct tile *tile, int n, int h, int w, bool gradient)
{
	zero(tile->base, (int64_t)tile->rows * tile->w, tile->ld);
	for (int y = MAX(0, tile->top); y < MIN(h, tile->top + tile->rows); y++) {
		float *row = tile_at(tile, y, 0);

		if (!gradient) {
			read_value(t, t->x->in[0], -1, n, 1, y, y + 1, row);
		} else {
			const float *d = read_gradient(t, n, 1, y, y + 1, row);

			if (d != row)
				memcpy(row, d, (size_t)w * tile->ld * sizeof(float));
		}
	}
}

/* The input rows under output rows y0..y1. */
static struct tile value_tile(const struct task *t, const struct plan *p, const struct chunk *c, float *scratch)
{
	const struct node *x = t->x;
	struct tile tile = { scratch, c->y0 * x->stride - x->pad, (c->y1 - c->y0 - 1) * x->stride + x->k, x->pad, p->in_w, x->ld };

	fill_tile(t, &tile, c->n, t->in->h, t->in->w, false);
	return tile;
}

/* Weights with the channels padded; flipped: taps in reverse. */
static void pad_weights(const struct node *x, const float *w, float *out)
{
	for (int t = 0; t < x->k * x->k; t++)
		memcpy(out + (int64_t)t * x->ld, w + (int64_t)t * x->c, x->c * sizeof(float));
}

static void depthwise_forward(struct task *t)
{
	const struct node *x = t->x;
	struct plan p = plan_depthwise(x, t->in);
	float *weight = t->scratch, *values = weight + 3 * x->k * x->k * x->ld;

	pad_weights(x, t->params + x->weight, weight);
	for (struct chunk c = bands(t, &p); chunk_next(&c);) {
		struct tile in = value_tile(t, &p, &c, values);

		for (int y = c.y0; y < c.y1; y++)
			t->net->kernels->depthwise(&(struct dw_row){ .out = raw_at(t, t->id, c.n, y),
				.in = tile_at(&in, y * x->stride - x->pad, -x->pad), .weight = weight, .count = x->w, .out_step = 1,
				.in_step = x->stride, .in_row = in.w, .kh = x->k, .kw = x->k, .ld = x->ld });
		add_moments(t, raw_at(t, t->id, c.n, c.y0), (int64_t)(c.y1 - c.y0) * x->w, c.split);
	}
}

/* --- backward --- */

/* Taps ky = first, first + s, ... that reach input row y: output row (y + pad - ky) / s. */
static int taps_of(const struct node *x, int y, int *first)
{
	*first = (y + x->pad) % x->stride;
	return (x->k - *first + x->stride - 1) / x->stride;
}

/* The filter of one phase, taps in reverse so that they run along the gradient's pixels. */
static void phase_weights(const struct node *x, const float *w, int ky, int kh, int kx, int kw, float *out)
{
	for (int i = 0; i < kh; i++)
		for (int j = 0; j < kw; j++, out += x->ld) {
			int tap = (ky + (kh - 1 - i) * x->stride) * x->k + kx + (kw - 1 - j) * x->stride;

			memcpy(out, w + (int64_t)tap * x->ld, x->ld * sizeof(float));
		}
}

static void input_row(const struct task *t, const struct tile *d, int n, int y, const float *weight, float *phase)
{
	const struct node *x = t->x, *in = t->in;
	int ky, kx, kh = taps_of(x, y, &ky), kw;

	for (int p = 0; p < MIN(x->stride, in->w); p++) {
		kw = taps_of(x, p, &kx);
		if (kh < 1 || kw < 1)
			continue;
		phase_weights(x, weight, ky, kh, kx, kw, phase);
		t->net->kernels->depthwise(&(struct dw_row){ .out = d_at(t, x->in[0], n, y) + (int64_t)p * x->ld,
			.in = tile_at(d, (y + x->pad - ky) / x->stride - (kh - 1), (p + x->pad - kx) / x->stride - (kw - 1)),
			.weight = phase, .count = (in->w - p + x->stride - 1) / x->stride, .out_step = x->stride, .in_step = 1,
			.in_row = d->w, .kh = kh, .kw = kw, .ld = x->ld, .add = !x->first[0] });
	}
}

/* Input rows that belong to a band of output rows: a partition of the image. */
static void input_rows(const struct task *t, const struct chunk *c, const struct tile *d, const float *weight, float *phase)
{
	const struct node *x = t->x;
	int y0 = c->y0 * x->stride, y1 = c->y1 == x->h ? t->in->h : c->y1 * x->stride;

	if (x->first[0] && x->k < x->stride)
		zero(d_at(t, x->in[0], c->n, y0), (int64_t)(y1 - y0) * t->in->w, x->ld);
	for (int y = y0; y < y1; y++)
		input_row(t, d, c->n, y, weight, phase);
	if (c->y1 == x->h && x->last[0])
		finish(t, 0, c->n, 1);
}

static void weight_rows(const struct task *t, const struct chunk *c, const struct tile *in, const struct tile *d, float *weight)
{
	const struct node *x = t->x;

	for (int y = c->y0; y < c->y1; y++)
		t->net->kernels->depthwise_weight(&(struct dw_row){ .out = tile_at(d, y, 0),
			.in = tile_at(in, y * x->stride - x->pad, -x->pad), .count = x->w, .in_step = x->stride, .in_row = in->w,
			.kh = x->k, .kw = x->k, .ld = x->ld }, weight);
}

static void depthwise_backward(struct task *t)
{
	const struct node *x = t->x;
	struct plan p = plan_depthwise(x, t->in);
	int64_t taps = x->k * x->k;
	float *weight = t->scratch, *phase = weight + taps * x->ld, *sum = phase + taps * x->ld, *values = sum + taps * x->ld;
	float *gradients = values + (int64_t)p.in_rows * p.in_w * x->ld;

	pad_weights(x, t->params + x->weight, weight);
	zero(sum, taps, x->ld);
	for (struct chunk c = bands(t, &p); chunk_next(&c);) {
		struct tile in = value_tile(t, &p, &c, values);
		struct tile d = { gradients, c.y0 - x->k, c.y1 - c.y0 + 2 * x->k, x->k, p.d_w, x->ld };

		fill_tile(t, &d, c.n, x->h, x->w, true);
		weight_rows(t, &c, &in, &d, sum);
		input_rows(t, &c, &d, weight, phase);
	}
	for (int i = 0; i < taps; i++)
		for (int j = 0; j < x->c; j++)
			t->weight_grad[i * x->c + j] += sum[i * x->ld + j];
}

const struct op op_depthwise = { { "depthwise", "a filter for each channel", NULL }, depthwise_forward, depthwise_backward,
	depthwise_scratch };
