/*
 * op_depthwise.c - depthwise convolution: one k x k filter for each channel
 *
 * The value of a band of input rows is computed into a tile whose rows have borders of zeros; taps above and below the image are
 * left out. The gradient of the input is again a convolution, of the output's gradient: for stride s one for each of the s*s
 * phases of the input's pixels, with the taps that reach that phase.
 */
#include "lib/nn/engine/engine.h"
#include "lib/nn/onnx/graph.h"

struct layout {
	int band;                    /* output rows of a chunk */
	int in_rows, in_w;           /* most rows of a tile of input values; its width */
	int64_t results;             /* floats of a band of outputs, of input gradients */
	int d_rows, d_left, d_w;     /* of a tile of output gradients */
};

/* Taps first, first + s, ... (count) reach input position at: the i-th one from output (at + pad - first) / s - i. */
struct phase {
	int first, count, origin;    /* origin: the lowest output */
};

static struct phase phase_of(const struct node *x, int at)
{
	int first = (at + x->pad) % x->stride, count = x->k > first ? (x->k - first + x->stride - 1) / x->stride : 0;

	return (struct phase){ first, count, (at + x->pad - first) / x->stride - (count - 1) };
}

static struct layout layout_of(const struct node *x, const struct node *in)
{
	struct layout p = { .in_w = tile_width(x, in) };
	int right = 0, bands;

	for (int i = 0; i < MIN(x->stride, in->w); i++) {
		struct phase f = phase_of(x, i);

		p.d_left = MAX(p.d_left, -f.origin);
		right = MAX(right, f.origin + (in->w - i - 1) / x->stride + f.count - x->w);
	}
	p.d_w = p.d_left + x->w + right;
	p.band = (int)MAX(1, MIN(x->h, 2 * CHUNK_BYTES / ((int64_t)sizeof(float) * x->ld * (2 * x->stride * p.in_w + p.d_w))));
	bands = (x->h + p.band - 1) / p.band;
	p.band = (x->h + bands - 1) / bands;
	p.in_rows = MIN(in->h, (p.band - 1) * x->stride + x->k);
	p.d_rows = MIN(x->h, p.band + 2 * x->k);
	p.results = (int64_t)x->ld * MAX(p.band * x->w, MAX(p.band * x->stride, in->h - (x->h - p.band) * x->stride) * in->w);
	return p;
}

static size_t depthwise_scratch(const struct node *x, const struct node *in, bool grad)
{
	struct layout p = layout_of(x, in);

	return sizeof(float) *
	       (x->ld * (3 * x->k * x->k + p.in_rows * p.in_w + (grad ? (int64_t)p.d_rows * p.d_w : 0)) + p.results);
}

static struct chunk bands(const struct task *t, const struct layout *p)
{
	struct chunk c = chunk_over(t, t->x->h, t->x->w, t->x->h * t->x->w);

	c.rows = p->band;
	c.group = 1;
	return c;
}

static void zero(float *at, int64_t pixels, int ld)
{
	memset(at, 0, pixels * ld * sizeof(float));
}

/* Rows of the weights with the channels padded. */
static void pad_weights(const struct node *x, const float *w, float *out)
{
	for (int t = 0; t < x->k * x->k; t++)
		memcpy(out + (int64_t)t * x->ld, w + (int64_t)t * x->c, x->c * sizeof(float));
}

/* Taps of a row of count outputs, stride apart, that lie inside the image for at least one of them. */
static int inside_row(const struct node *x, int w, int *first)
{
	*first = MAX(0, x->pad - (x->w - 1) * x->stride);
	return MIN(x->k, w + x->pad) - *first;
}

static void clear_values(const struct task *t, const struct layout *p, float *values)
{
	tile_clear(&(struct tile){ .base = (char *)values, .left = t->x->pad, .w = p->in_w, .ld = t->x->ld }, p->in_rows,
		   t->in->w);
}

static void depthwise_forward(struct task *t)
{
	const struct node *x = t->x;
	struct layout p = layout_of(x, t->in);
	float *weight = (float *)t->scratch, *values = weight + 3 * x->k * x->k * x->ld;
	float *results = values + (int64_t)p.in_rows * p.in_w * x->ld;
	bool there = x->store == F32 && !value_past(t, t->id);
	int ky, kx, kh, kw = inside_row(x, t->in->w, &kx);

	pad_weights(x, t->params + x->weight, weight);
	clear_values(t, &p, values);
	for (struct chunk c = bands(t, &p); chunk_next(&c);) {
		struct tile in = tile_values(t, &c, values, F32);
		float *out = there ? value_at(t, t->id, c.n, c.y0) : results;

		for (int y = c.y0; y < c.y1; y++) {
			kh = inside(y * x->stride - x->pad, x->k, t->in->h, &ky);
			t->plan->kernels[F32]->depthwise(
				&(struct dw_rows){ .out = out + (int64_t)(y - c.y0) * x->w * x->ld,
						   .in = tile_at(&in, 0, y * x->stride - x->pad + ky, kx - x->pad),
						   .weight = weight + (ky * x->k + kx) * x->ld,
						   .count = x->w,
						   .out_step = 1,
						   .in_step = x->stride,
						   .in_row = in.w,
						   .weight_row = x->k,
						   .kh = kh,
						   .kw = kw,
						   .ld = x->ld });
		}
		value_put(t, c.n, c.y0, there ? NULL : out, (int64_t)(c.y1 - c.y0) * x->w);
	}
}

/* --- backward --- */

/* The filters of all phases one after another, taps in reverse so that they run along the gradient's pixels. */
static void phase_weights(const struct node *x, const float *w, float *out)
{
	for (int py = 0; py < x->stride; py++)
		for (int px = 0; px < x->stride; px++) {
			struct phase fy = phase_of(x, py), fx = phase_of(x, px);

			for (int i = fy.count - 1; i >= 0; i--)
				for (int j = fx.count - 1; j >= 0; j--, out += x->ld)
					memcpy(out, w + ((fy.first + i * x->stride) * x->k + fx.first + j * x->stride) * x->ld,
					       x->ld * sizeof(float));
		}
}

/* Row y of the input's gradient; weight: the filters of the row's phase. */
static void input_row(const struct task *t, const struct tile *d, int y, const float *weight, float *row)
{
	const struct node *x = t->x, *in = t->in;
	struct phase fy = phase_of(x, y);
	int ky, kh = inside(fy.origin, fy.count, x->h, &ky);

	for (int p = 0; p < MIN(x->stride, in->w); p++) {
		struct phase fx = phase_of(x, p);
		float *out = row + (int64_t)p * x->ld;
		int count = (in->w - p + x->stride - 1) / x->stride;

		if (kh > 0 && fx.count > 0)
			t->plan->kernels[F32]->depthwise(&(struct dw_rows){ .out = out,
								      .in = tile_at(d, 0, fy.origin + ky, fx.origin),
								      .weight = weight + ky * fx.count * x->ld,
								      .count = count,
								      .out_step = x->stride,
								      .in_step = 1,
								      .in_row = d->w,
								      .weight_row = fx.count,
								      .kh = kh,
								      .kw = fx.count,
								      .ld = x->ld });
		else
			for (int i = 0; i < count; i++)
				zero(out + (int64_t)i * x->stride * x->ld, 1, x->ld);
		weight += (int64_t)fy.count * fx.count * x->ld;
	}
}

/* Input rows that belong to a band of output rows: a partition of the image. */
static void input_rows(const struct task *t, const struct chunk *c, const struct tile *d, const float *weight, float *rows)
{
	const struct node *x = t->x;
	int y0 = c->y0 * x->stride, y1 = c->y1 == x->h ? t->in->h : c->y1 * x->stride;
	bool there = t->in->store == F32 && x->first[0] && !value_past(t, x->in[0]);

	rows = there ? gradient_at(t, x->in[0], c->n, y0) : rows;

	for (int y = y0; y < y1; y++) {
		const float *phase = weight;

		/* all columns of the taps of one row phase come to count * k weights */
		for (int p = 0; p < y % x->stride; p++)
			phase += (int64_t)phase_of(x, p).count * x->k * x->ld;
		input_row(t, d, y, phase, rows + (int64_t)(y - y0) * t->in->w * x->ld);
	}
	gradient_give(t, 0, c->n, 1, y0, y1, there ? NULL : rows);
}

static void weight_rows(const struct task *t, const struct chunk *c, const struct tile *in, const struct tile *d, float *weight)
{
	const struct node *x = t->x;
	int kx, kw = inside_row(x, t->in->w, &kx);

	for (int ky = 0; ky < x->k; ky++) {
		int y0 = c->y0, y1 = c->y1;

		while (y0 < y1 && y0 * x->stride - x->pad + ky < 0)
			y0++;
		while (y0 < y1 && (y1 - 1) * x->stride - x->pad + ky >= t->in->h)
			y1--;
		if (y0 < y1)
			t->plan->kernels[F32]->depthwise_weight(
				&(struct dw_rows){ .out = tile_at(d, 0, y0, 0),
						   .in = tile_at(in, 0, y0 * x->stride - x->pad + ky, kx - x->pad),
						   .rows = y1 - y0,
						   .count = x->w,
						   .out_row = d->w,
						   .in_step = x->stride,
						   .in_row = in->w * x->stride,
						   .kw = kw,
						   .ld = x->ld },
				weight + (ky * x->k + kx) * x->ld);
	}
}

/* The output's gradient that rows of the input see, and those of the band itself. */
static struct tile gradient_tile(const struct task *t, const struct layout *p, const struct chunk *c, float *scratch)
{
	const struct node *x = t->x;
	int ya = MAX(0, c->y0 - x->k), yb = MIN(x->h, c->y1 + x->k);
	struct tile tile = { (char *)scratch, F32, 1, yb - ya, ya, p->d_left, p->d_w, x->ld };

	gradient_read(t, c->n, 1, ya, yb, tile_at(&tile, 0, ya, 0), F32, tile.w);
	return tile;
}

static void depthwise_backward(struct task *t)
{
	const struct node *x = t->x;
	struct layout p = layout_of(x, t->in);
	int64_t filter = (int64_t)x->k * x->k * x->ld;
	float *weight = (float *)t->scratch, *phases = weight + filter, *sum = phases + filter, *values = sum + filter;
	float *gradients = values + (int64_t)p.in_rows * p.in_w * x->ld, *results = gradients + (int64_t)p.d_rows * p.d_w * x->ld;

	pad_weights(x, t->params + x->weight, weight);
	phase_weights(x, weight, phases);
	memset(sum, 0, filter * sizeof(float));
	clear_values(t, &p, values);
	tile_clear(&(struct tile){ .base = (char *)gradients, .left = p.d_left, .w = p.d_w, .ld = x->ld }, p.d_rows, x->w);
	for (struct chunk c = bands(t, &p); chunk_next(&c);) {
		struct tile in = tile_values(t, &c, values, F32), d = gradient_tile(t, &p, &c, gradients);

		for (int y = c.y0; y < c.y1; y++)
			gradient_bias(t, tile_at(&d, 0, y, 0), F32, x->w);
		weight_rows(t, &c, &in, &d, sum);
		input_rows(t, &c, &d, phases, results);
	}
	for (int i = 0; i < x->k * x->k; i++)
		for (int j = 0; j < x->c; j++)
			t->weight_grad[i * x->c + j] += sum[i * x->ld + j];
}

static struct cost depthwise_cost(const struct node *x, const struct node *in)
{
	(void)in;
	return op_cost_filters(x, F32);
}

const struct op op_depthwise = {
	.entry = { "depthwise", "a filter for each channel", NULL },
	.forward = depthwise_forward,
	.backward = depthwise_backward,
	.scratch = depthwise_scratch,
	.cost = depthwise_cost,
	.onnx = graph_filters,
};
