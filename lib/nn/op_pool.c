/* op_pool.c - mean over the image, maximum over windows */
#include "lib/nn/engine.h"

static size_t no_scratch(const struct node *x, const struct node *in, bool grad)
{
	(void)x, (void)in, (void)grad;
	return 0;
}

/* --- mean --- */

/* Sums in blocks, so that large images keep their digits. */
static void mean_image(const struct task *t, int n, float *out, float *slopes)
{
	const struct node *in = t->in;
	struct affine f = affine_of(t, t->x->in[0], split_of(t->p, n));
	const float *raw = raw_at(t, t->x->in[0], n, 0);
	int64_t rows = (int64_t)in->h * in->w;
	float *part = t->vectors;

	memset(out, 0, in->ld * sizeof(float));
	if (slopes)
		memset(slopes, 0, 2 * in->ld * sizeof(float));
	for (int64_t r = 0; r < rows; r += 256) {
		memset(part, 0, 3 * in->ld * sizeof(float));
		t->net->kernels->pool(raw + r * in->ld, MIN(256, rows - r), in->ld, &f, in->act, part,
				      slopes ? part + in->ld : NULL, part + 2 * in->ld);
		t->net->kernels->add(out, part, in->ld);
		if (slopes)
			t->net->kernels->add(slopes, part + in->ld, 2 * in->ld);
	}
	for (int c = 0; c < in->ld; c++)
		out[c] /= rows;
}

static void mean_forward(struct task *t)
{
	float *slopes = t->p->mode == NET_TRAIN ? t->p->state[t->x->in[0]].slopes : NULL;

	for (int n = t->n0; n < t->n1; n++)
		mean_image(t, n, raw_at(t, t->id, n, 0), slopes ? slopes + (int64_t)n * 2 * t->in->ld : NULL);
}

static void mean_backward(struct task *t)
{
	const struct node *in = t->in;

	if (in->pool == t->id)
		return;              /* the input reads this gradient itself */
	for (int n = t->n0; n < t->n1; n++) {
		const float *d = d_at(t, t->id, n, 0);
		float *to = d_at(t, t->x->in[0], n, 0);
		int rows = in->h * in->w;

		for (int r = 0; r < rows; r++, to += in->ld)
			for (int c = 0; c < in->ld; c++)
				to[c] = (t->x->first[0] ? 0 : to[c]) + d[c] / rows;
		if (t->x->last[0])
			finish(t, 0, n, 1);
	}
}

const struct op op_meanpool = { { "meanpool", "mean over the image", NULL }, mean_forward, mean_backward, no_scratch };

/* --- maximum --- */

#define TAPS_MAX (KERNEL_MAX * KERNEL_MAX)

static int max_target(const struct node *in)
{
	return MAX(1, CHUNK_FLOATS / in->ld);
}

/* Input rows under a band of output rows. */
static size_t max_scratch(const struct node *x, const struct node *in, bool grad)
{
	int band = MAX(1, max_target(in) / x->w);

	(void)grad;
	return (size_t)MIN(in->h, (band + 1) * x->stride + x->k) * in->w * in->ld;
}

static struct chunk max_chunks(const struct task *t)
{
	struct chunk c = chunks(t, t->x->h, t->x->w, MAX(1, max_target(t->in)));

	c.group = 1;
	return c;
}

/* Pixels under the window of output (oy, ox), in rows that start at row ya of an image; NULL outside. */
static int window_taps(const struct node *x, const struct node *in, float *base, int ya, int oy, int ox, float **tap)
{
	int count = 0;

	for (int ky = 0; ky < x->k; ky++)
		for (int kx = 0; kx < x->k; kx++, count++) {
			int y = oy * x->stride - x->pad + ky, xx = ox * x->stride - x->pad + kx;

			bool inside = y >= 0 && y < in->h && xx >= 0 && xx < in->w;

			tap[count] = inside ? base + ((int64_t)(y - ya) * in->w + xx) * in->ld : NULL;
		}
	return count;
}

static int band_start(const struct task *t, const struct chunk *c)
{
	return MAX(0, c->y0 * t->x->stride - t->x->pad);
}

static void read_band(const struct task *t, const struct chunk *c)
{
	int yb = MIN(t->in->h, (c->y1 - 1) * t->x->stride - t->x->pad + t->x->k);

	read_value(t, t->x->in[0], -1, c->n, 1, band_start(t, c), yb, t->scratch, t->in->w);
}

static void max_forward(struct task *t)
{
	const struct node *x = t->x;
	float *tap[TAPS_MAX];

	for (struct chunk c = max_chunks(t); chunk_next(&c);) {
		read_band(t, &c);
		for (int y = c.y0; y < c.y1; y++)
			for (int o = 0; o < x->w; o++) {
				int taps = window_taps(x, t->in, t->scratch, band_start(t, &c), y, o, tap);

				t->net->kernels->max(raw_at(t, t->id, c.n, y) + (int64_t)o * x->ld, (const float *const *)tap,
						     taps, x->ld);
			}
	}
}

static void max_backward(struct task *t)
{
	const struct node *x = t->x, *in = t->in;
	float *tap[TAPS_MAX], *to[TAPS_MAX];

	for (struct chunk c = max_chunks(t); chunk_next(&c);) {
		float *image = d_at(t, x->in[0], c.n, 0);

		if (c.y0 == 0 && x->first[0])
			memset(image, 0, (size_t)in->h * in->w * in->ld * sizeof(float));
		read_band(t, &c);
		for (int y = c.y0; y < c.y1; y++)
			for (int o = 0; o < x->w; o++) {
				int taps = window_taps(x, in, t->scratch, band_start(t, &c), y, o, tap);

				window_taps(x, in, image, 0, y, o, to);
				t->net->kernels->max_back(d_at(t, t->id, c.n, y) + (int64_t)o * x->ld, (const float *const *)tap,
							  to, taps, x->ld);
			}
		if (c.y1 == x->h && x->last[0])
			finish(t, 0, c.n, 1);
	}
}

const struct op op_maxpool = { { "maxpool", "maximum over windows", NULL }, max_forward, max_backward, max_scratch };
