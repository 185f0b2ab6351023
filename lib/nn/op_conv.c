/*
 * op_conv.c - dense convolution and linear layers: patches times weights
 *
 * The value of a chunk's input pixels is computed into scratch; 1x1 convolutions multiply it as it is, others through a scratch
 * of patches (im2col) for a few taps at a time, so that all stays in L2. Backward the gradient of the patches is scattered onto
 * the input pixels. Weights are (kh, kw, in, out).
 */
#include "lib/nn/engine.h"

/* Sizes that one convolution's loops share. */
struct plan {
	int taps, group;         /* of the kernel; multiplied at once */
	int target;              /* output pixels of a chunk */
	int pitch;               /* of the patches */
	bool plain;              /* input pixels are patches */
	int64_t pixels;          /* most input pixels of a chunk */
};

static struct plan plan_conv(const struct node *x, const struct node *in)
{
	struct plan p = { .taps = x->k * x->k, .plain = x->k == 1 && x->stride == 1 && x->pad == 0 };
	int64_t image = (int64_t)x->h * x->w;
	int group, bands, band;

	p.target = MAX(64, MIN(1024, CHUNK_FLOATS / (in->ld + x->ld)));
	group = MAX(1, p.target / image);
	bands = (int)((image + p.target - 1) / p.target);
	band = (x->h + bands - 1) / bands;
	p.target = MAX(p.target, band * x->w);
	p.pixels = MAX((int64_t)group * in->h, (band - 1) * x->stride + x->k) * in->w;
	p.group = MAX(1, MIN(p.taps, CHUNK_FLOATS / (p.target * in->c)));
	p.pitch = (p.group * in->c + LANES - 1) / LANES * LANES;
	return p;
}

static size_t conv_scratch(const struct node *x, const struct node *in, bool grad)
{
	struct plan p = plan_conv(x, in);

	return p.pixels * in->ld + (p.plain ? 0 : (size_t)p.target * p.pitch) + (grad ? (size_t)p.target * x->ld : 0) + 3 * LANES;
}

/* --- patches --- */

/* A chunk's input rows: ya..yb of each image, pixels of pitch ld at base. */
struct area {
	float *base;
	int images, ya, yb, h, w, ld;
	int y0, y1;              /* output rows */
};

/* Where tap (ky, kx) of output pixel (y, x) lies in the area; NULL outside the image. */
static float *tap_at(const struct area *a, const struct node *x, int image, int oy, int ox, int tap)
{
	int y = oy * x->stride - x->pad + tap / x->k, xx = ox * x->stride - x->pad + tap % x->k;

	if (y < 0 || y >= a->h || xx < 0 || xx >= a->w)
		return NULL;
	return a->base + (((int64_t)image * (a->yb - a->ya) + y - a->ya) * a->w + xx) * a->ld;
}

static void gather(const struct area *a, const struct node *x, int c, int tap, int taps, int pitch, float *patches)
{
	for (int i = 0; i < a->images; i++)
		for (int y = a->y0; y < a->y1; y++)
			for (int o = 0; o < x->w; o++, patches += pitch)
				for (int k = 0; k < taps; k++) {
					const float *from = tap_at(a, x, i, y, o, tap + k);

					if (from)
						memcpy(patches + k * c, from, c * sizeof(float));
					else
						memset(patches + k * c, 0, c * sizeof(float));
				}
}

static void scatter(const struct area *a, const struct node *x, int c, int tap, int taps, int pitch, const float *patches)
{
	for (int i = 0; i < a->images; i++)
		for (int y = a->y0; y < a->y1; y++)
			for (int o = 0; o < x->w; o++, patches += pitch)
				for (int k = 0; k < taps; k++) {
					float *restrict to = tap_at(a, x, i, y, o, tap + k);
					const float *restrict from = patches + k * c;

					for (int j = 0; to && j < c; j++)
						to[j] += from[j];
				}
}

/* The input rows under output rows y0..y1: their value in scratch, or in place where it is stored as it is. */
static struct area input_area(const struct task *t, const struct chunk *c, float *scratch)
{
	const struct node *x = t->x, *in = t->in;
	struct area a = { .images = c->images, .ya = 0, .yb = in->h, .h = in->h, .w = in->w, .ld = in->ld, .y0 = c->y0, .y1 = c->y1 };

	if (c->y1 - c->y0 < x->h) {
		a.ya = MAX(0, c->y0 * x->stride - x->pad);
		a.yb = MIN(in->h, (c->y1 - 1) * x->stride - x->pad + x->k);
	}
	a.base = scratch;
	if (value_is_raw(in, x->gate))
		a.base = raw_at(t, x->in[0], c->n, a.ya);
	else
		read_value(t, x->in[0], x->gate, c->n, c->images, a.ya, a.yb, scratch, in->w);
	return a;
}

/* --- forward --- */

static void conv_forward(struct task *t)
{
	const struct node *x = t->x, *in = t->in;
	const struct backend *b = t->net->backend;
	struct plan p = plan_conv(x, in);
	float *patches = t->scratch + p.pixels * in->ld;

	for (struct chunk c = chunks(t, x->h, x->w, p.target); chunk_next(&c);) {
		struct area a = input_area(t, &c, t->scratch);
		int m = c.images * (c.y1 - c.y0) * x->w;
		float *out = raw_at(t, t->id, c.n, c.y0);

		for (int tap = 0, taps; tap < p.taps; tap += taps) {
			taps = MIN(p.group, p.taps - tap);
			if (!p.plain)
				gather(&a, x, in->c, tap, taps, p.pitch, patches);
			b->gemm(false, false, m, x->c, taps * in->c, p.plain ? a.base : patches, p.plain ? in->ld : p.pitch,
				t->params + x->weight + (int64_t)tap * in->c * x->c, x->c, tap > 0, out, x->ld);
		}
		add_moments(t, out, m, c.split);
	}
}

/* --- backward --- */

static void weight_gradient(struct task *t, const struct plan *p, const struct area *a, const float *dy, int m, float *patches)
{
	const struct node *x = t->x, *in = t->in;

	for (int tap = 0, taps; tap < p->taps; tap += taps) {
		taps = MIN(p->group, p->taps - tap);
		if (!p->plain)
			gather(a, x, in->c, tap, taps, p->pitch, patches);
		t->net->backend->gemm(true, false, taps * in->c, x->c, m, p->plain ? a->base : patches, p->plain ? in->ld : p->pitch, dy,
				      x->ld, 1, t->weight_grad + (int64_t)tap * in->c * x->c, x->c);
	}
}

static void input_gradient(struct task *t, const struct plan *p, const struct chunk *c, const float *dy, int m, float *patches)
{
	const struct node *x = t->x, *in = t->in;
	const float *w = t->params + x->weight;
	struct area a = { .base = d_at(t, x->in[0], c->n, 0), .images = c->images, .yb = in->h, .h = in->h, .w = in->w, .ld = in->ld,
		.y0 = c->y0, .y1 = c->y1 };

	if (p->plain) {
		t->net->backend->gemm(false, true, m, in->c, x->c, dy, x->ld, w, x->c, !x->first[0], d_at(t, x->in[0], c->n, c->y0), in->ld);
		return;
	}
	if (x->first[0] && c->y0 == 0)
		memset(a.base, 0, (size_t)c->images * in->h * in->w * in->ld * sizeof(float));
	for (int tap = 0, taps; tap < p->taps; tap += taps) {
		taps = MIN(p->group, p->taps - tap);
		t->net->backend->gemm(false, true, m, taps * in->c, x->c, dy, x->ld, w + (int64_t)tap * in->c * x->c, x->c, 0, patches,
				      p->pitch);
		scatter(&a, x, in->c, tap, taps, p->pitch, patches);
	}
}

static void conv_backward(struct task *t)
{
	const struct node *x = t->x, *in = t->in;
	struct plan p = plan_conv(x, in);
	float *patches = t->scratch + p.pixels * in->ld, *gradient = patches + (p.plain ? 0 : (size_t)p.target * p.pitch);

	for (struct chunk c = chunks(t, x->h, x->w, p.target); chunk_next(&c);) {
		int m = c.images * (c.y1 - c.y0) * x->w;
		const float *dy = gradient_is_stored(x) ? d_at(t, t->id, c.n, c.y0) : gradient;
		struct area a = input_area(t, &c, t->scratch);

		if (dy == gradient)
			read_gradient(t, c.n, c.images, c.y0, c.y1, gradient, x->w);
		weight_gradient(t, &p, &a, dy, m, patches);
		if (in->op == OP_VIEW)
			continue;
		input_gradient(t, &p, &c, dy, m, patches);
		if (c.y1 == x->h && x->last[0])
			finish(t, 0, c.n, c.images);
	}
}

const struct op op_conv = { { "conv", "dense convolution, linear layer", NULL }, conv_forward, conv_backward, conv_scratch };
