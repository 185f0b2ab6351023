/*
 * op_conv.c - dense convolution and linear layers: patches times weights
 *
 * The value of a chunk's input pixels is computed into scratch; 1x1 convolutions multiply it as it is, others through a scratch
 * of patches (im2col) for a few rows of taps at a time, so that all stays in L2. Backward the gradient of the patches is
 * scattered onto the input pixels. Weights are (kh, kw, in, out).
 */
#include "lib/nn/engine.h"

/* Sizes that one convolution's loops share. */
struct plan {
	int group;               /* rows of taps multiplied at once */
	int target;              /* output pixels of a chunk */
	int pitch;               /* of the patches */
	bool plain;              /* input pixels are patches */
	int64_t rows;            /* most input rows of a chunk */
	int width;               /* of the tile they are read into */
	size_t tile, patches;    /* floats of scratch */
};

static struct plan plan_conv(const struct node *x, const struct node *in)
{
	struct plan p = { .plain = x->k == 1 && x->stride == 1 && x->pad == 0 };
	int64_t image = (int64_t)x->h * x->w;
	int bands, band;

	p.target = MAX(64, MIN(1024, CHUNK_FLOATS / (in->ld + x->ld)));
	bands = (int)((image + p.target - 1) / p.target);
	band = (x->h + bands - 1) / bands;
	p.rows = MAX(MAX(1, p.target / image) * in->h, (band - 1) * x->stride + x->k);
	p.target = MAX(p.target, band * x->w);
	p.width = p.plain ? in->w : tile_width(x, in);
	p.group = MAX(1, MIN(x->k, CHUNK_FLOATS / (p.target * in->c * x->k)));
	p.pitch = (p.group * x->k * in->c + LANES - 1) / LANES * LANES;
	p.tile = (size_t)p.rows * p.width * in->ld + LANES;          /* copy_run() goes LANES beyond */
	p.patches = p.plain ? 0 : (size_t)p.target * p.pitch + LANES;
	p.tile = (p.tile + LANES - 1) / LANES * LANES;
	return p;
}

/* Scratch: tile, patches, a row of taps of zeros, gradient. */
static size_t zeros_size(const struct node *x, const struct node *in)
{
	return ((size_t)x->k * in->ld + 2 * LANES) / LANES * LANES;
}

static size_t conv_scratch(const struct node *x, const struct node *in, bool grad)
{
	struct plan p = plan_conv(x, in);

	return p.tile + p.patches + zeros_size(x, in) + (grad ? (size_t)p.target * x->ld : 0);
}

/* --- patches --- */

/* Copies whole vectors: up to LANES - 1 floats too many, which the next run overwrites. */
static inline void copy_run(float *to, const float *from, int n)
{
	for (int i = 0; i < n; i += LANES)
		memcpy(to + i, from + i, LANES * sizeof(float));
}

/* A row of taps of one patch: contiguous in the tile unless the channels are padded. */
static inline void copy_taps(float *to, const float *from, int k, int c, int ld)
{
	if (c == ld) {
		copy_run(to, from, k * c);
		return;
	}
	for (int i = 0; i < k; i++)
		copy_run(to + i * c, from + i * ld, c);
}

/* Rows of taps ky .. ky+n-1 of the patches of output row y. */
static float *gather_row(const struct tile *tile, const struct node *x, const struct node *in, int image, int y, int ky, int n,
			 int pitch, const float *zeros, float *patches)
{
	const float *row[KERNEL_MAX];

	for (int i = 0; i < n; i++) {
		int at = y * x->stride - x->pad + ky + i;

		row[i] = at < 0 || at >= in->h ? NULL : tile_at(tile, image, at, -x->pad);
	}
	for (int o = 0; o < x->w; o++, patches += pitch)
		for (int i = 0; i < n; i++)
			copy_taps(patches + i * x->k * in->c, row[i] ? row[i] + (int64_t)o * x->stride * in->ld : zeros, x->k,
				  in->c, in->ld);
	return patches;
}

static void gather(const struct tile *tile, const struct task *t, const struct chunk *c, const struct plan *p, int ky, int n,
		   const float *zeros, float *patches)
{
	for (int i = 0; i < c->images; i++)
		for (int y = c->y0; y < c->y1; y++)
			patches = gather_row(tile, t->x, t->in, i, y, ky, n, p->pitch, zeros, patches);
}

/* Adds the gradient of a patch's row of taps to the input's, as far as it lies inside. */
static void scatter_taps(const struct task *t, float *row, int at, const float *from)
{
	const struct node *x = t->x, *in = t->in;
	int first = MAX(0, -at), last = MIN(x->k, in->w - at);

	if (in->c == in->ld) {
		if (last > first)
			t->net->kernels->add(row + (int64_t)(at + first) * in->ld, from + first * in->c,
					     (int64_t)(last - first) * in->c);
		return;
	}
	for (int i = first; i < last; i++)
		t->net->kernels->add(row + (int64_t)(at + i) * in->ld, from + i * in->c, in->c);
}

static void scatter(const struct task *t, const struct chunk *c, const struct plan *p, int ky, int n, const float *patches)
{
	const struct node *x = t->x;

	for (int i = 0; i < c->images; i++)
		for (int y = c->y0; y < c->y1; y++)
			for (int o = 0; o < x->w; o++, patches += p->pitch)
				for (int k = 0; k < n; k++) {
					int at = y * x->stride - x->pad + ky + k;

					if (at >= 0 && at < t->in->h)
						scatter_taps(t, d_at(t, x->in[0], c->n + i, at), o * x->stride - x->pad,
							     patches + k * x->k * t->in->c);
				}
}

/* --- forward --- */

/* The left factor of a chunk's product: the input's value, in scratch or in place where it is stored as it is. */
struct input {
	struct tile tile;
	const float *plain;
	float *patches, *zeros;
};

static struct input open_input(const struct task *t, const struct plan *p)
{
	struct input in = { .patches = t->scratch + p->tile, .zeros = t->scratch + p->tile + p->patches };

	if (!p->plain)
		tile_clear(t->scratch, p->rows, t->x->pad, t->in->w, p->width, t->in->ld);
	memset(in.zeros, 0, zeros_size(t->x, t->in) * sizeof(float));
	return in;
}

static void load_input(const struct task *t, const struct chunk *c, const struct plan *p, struct input *in)
{
	int node = t->x->in[0];

	in->plain = t->scratch;
	if (!p->plain)
		in->tile = tile_values(t, c, t->scratch);
	else if (value_is_raw(t->in, t->x->gate))
		in->plain = raw_at(t, node, c->n, c->y0);
	else
		read_value(t, node, t->x->gate, c->n, c->images, c->y0, c->y1, t->scratch, t->in->w);
}

/* The left factor for rows of taps ky .. ky+n-1; *pitch between its rows. */
static const float *left_factor(const struct task *t, const struct chunk *c, const struct plan *p, const struct input *in, int ky,
				int n, int *pitch)
{
	*pitch = p->plain ? t->in->ld : p->pitch;
	if (p->plain)
		return in->plain;
	gather(&in->tile, t, c, p, ky, n, in->zeros, in->patches);
	return in->patches;
}

static void conv_forward(struct task *t)
{
	const struct node *x = t->x;
	struct plan p = plan_conv(x, t->in);
	struct input in = open_input(t, &p);
	int row = x->k * t->in->c, pitch;

	for (struct chunk c = chunks(t, x->h, x->w, p.target); chunk_next(&c);) {
		int m = c.images * (c.y1 - c.y0) * x->w;
		float *out = raw_at(t, t->id, c.n, c.y0);

		load_input(t, &c, &p, &in);
		for (int ky = 0, n; ky < x->k; ky += n) {
			const float *left;

			n = MIN(p.group, x->k - ky);
			left = left_factor(t, &c, &p, &in, ky, n, &pitch);
			t->net->backend->gemm(false, false, m, x->c, n * row, left, pitch,
					      t->params + x->weight + (int64_t)ky * row * x->c, x->c, ky > 0, out, x->ld);
		}
		add_moments(t, out, m, c.split);
	}
}

/* --- backward --- */

static void weight_gradient(const struct task *t, const struct chunk *c, const struct plan *p, const struct input *in,
			    const float *dy, int m)
{
	const struct node *x = t->x;
	int row = x->k * t->in->c, pitch;

	for (int ky = 0, n; ky < x->k; ky += n) {
		const float *left;

		n = MIN(p->group, x->k - ky);
		left = left_factor(t, c, p, in, ky, n, &pitch);
		t->net->backend->gemm(true, false, n * row, x->c, m, left, pitch, dy, x->ld, 1,
				      t->weight_grad + (int64_t)ky * row * x->c, x->c);
	}
}

static void input_gradient(const struct task *t, const struct chunk *c, const struct plan *p, float *patches, const float *dy,
			   int m)
{
	const struct node *x = t->x, *in = t->in;
	const float *w = t->params + x->weight;
	int row = x->k * in->c;

	if (p->plain) {
		t->net->backend->gemm(false, true, m, in->c, x->c, dy, x->ld, w, x->c, !x->first[0],
				      d_at(t, x->in[0], c->n, c->y0), in->ld);
		return;
	}
	if (x->first[0] && c->y0 == 0)
		memset(d_at(t, x->in[0], c->n, 0), 0, (size_t)c->images * in->h * in->w * in->ld * sizeof(float));
	for (int ky = 0, n; ky < x->k; ky += n) {
		n = MIN(p->group, x->k - ky);
		t->net->backend->gemm(false, true, m, n * row, x->c, dy, x->ld, w + (int64_t)ky * row * x->c, x->c, 0, patches,
				      p->pitch);
		scatter(t, c, p, ky, n, patches);
	}
}

static void conv_backward(struct task *t)
{
	const struct node *x = t->x;
	struct plan p = plan_conv(x, t->in);
	struct input in = open_input(t, &p);
	float *gradient = in.zeros + zeros_size(x, t->in);

	for (struct chunk c = chunks(t, x->h, x->w, p.target); chunk_next(&c);) {
		int m = c.images * (c.y1 - c.y0) * x->w;
		const float *dy = gradient_is_stored(x) ? d_at(t, t->id, c.n, c.y0) : gradient;

		if (dy == gradient)
			read_gradient(t, c.n, c.images, c.y0, c.y1, gradient, x->w);
		add_bias(t, dy, m);
		load_input(t, &c, &p, &in);
		weight_gradient(t, &c, &p, &in, dy, m);
		if (t->in->op == OP_VIEW)
			continue;
		input_gradient(t, &c, &p, in.patches, dy, m);
		if (c.y1 == x->h && x->last[0])
			finish(t, 0, c.n, c.images);
	}
}

const struct op op_conv = { { "conv", "dense convolution, linear layer", NULL }, conv_forward, conv_backward, conv_scratch };
