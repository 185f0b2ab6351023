/* op_pool.c - mean over the image, maximum over windows */
#include "lib/nn/engine/engine.h"
#include "lib/nn/onnx/graph.h"

/* --- mean --- */

/* Rows of an image that are given at once. */
static int mean_band(const struct node *in)
{
	return MAX(1, CHUNK_BYTES / 8 / (int)sizeof(float) / (in->w * in->ld));
}

static size_t mean_scratch(const struct node *x, const struct node *in, bool grad)
{
	(void)x;
	return grad ? sizeof(float) * MIN(in->h, mean_band(in)) * in->w * in->ld : 0;
}

/* Sums in blocks, so that large images keep their digits. */
static void mean_image(const struct task *t, int n, float *out, float *slopes)
{
	const struct node *in = t->in;
	int node = t->x->in[0];
	struct affine f = norm_affine(t, node);
	const void *raw = value_at(t, node, n, 0);
	int64_t rows = (int64_t)in->h * in->w;
	float *part = t->vectors;

	memset(out, 0, in->ld * sizeof(float));
	if (slopes)
		memset(slopes, 0, 2 * in->ld * sizeof(float));
	for (int64_t r = 0; r < rows; r += 256) {
		memset(part, 0, 3 * in->ld * sizeof(float));
		kernels_of(t, node)->pool(element_at(raw, in->store, r * in->ld), MIN(256, rows - r), in->ld, &f, in->act, part,
					  slopes ? part + in->ld : NULL, part + 2 * in->ld);
		t->plan->kernels[F32]->add(out, part, in->ld);
		if (slopes)
			t->plan->kernels[F32]->add(slopes, part + in->ld, 2 * in->ld);
	}
	for (int c = 0; c < in->ld; c++)
		out[c] /= rows;
}

static void mean_forward(struct task *t)
{
	float *slopes = t->p->mode == PASS_TRAIN ? t->p->state[t->x->in[0]].slopes : NULL;

	for (int n = t->n0; n < t->n1; n++)
		mean_image(t, n, value_at(t, t->id, n, 0), slopes ? slopes + (int64_t)n * 2 * t->in->ld : NULL);
}

static void mean_backward(struct task *t)
{
	const struct node *in = t->in;
	float *rows = (float *)t->scratch;
	int band = mean_band(in), size = in->h * in->w;

	if (in->pool == t->id)
		return;              /* the input reads this gradient itself */
	for (int n = t->n0; n < t->n1; n++) {
		const float *d = gradient_at(t, t->id, n, 0);

		for (int i = 0; i < MIN(band, in->h) * in->w; i++)
			for (int c = 0; c < in->ld; c++)
				rows[(int64_t)i * in->ld + c] = d[c] / size;
		for (int y = 0; y < in->h; y += band)
			gradient_give(t, 0, n, 1, y, MIN(in->h, y + band), rows);
	}
}

static const char *mean_onnx(struct graph *g, const struct node *x)
{
	return graph_op(g, "GlobalAveragePool", IN(graph_in(g, x, 0)), NO_ATTRIBUTES);
}

const struct op op_meanpool = {
	.entry = { "meanpool", "mean over the image", NULL },
	.forward = mean_forward,
	.backward = mean_backward,
	.scratch = mean_scratch,
	.onnx = mean_onnx,
	.raw = true,
	.pools = true,
};

/* --- maximum --- */

#define TAPS_MAX (KERNEL_MAX * KERNEL_MAX)

static int max_target(const struct node *in)
{
	return MAX(1, CHUNK_BYTES / (int)sizeof(float) / in->ld);
}

/* Floats of the input rows under a band of output rows, and of the band. */
static size_t max_input(const struct node *x, const struct node *in)
{
	int band = MAX(1, max_target(in) / x->w);

	return (size_t)MIN(in->h, (band + 1) * x->stride + x->k) * in->w * in->ld;
}

static size_t max_output(const struct node *x, const struct node *in)
{
	return (size_t)MIN(x->h, max_target(in) / x->w + 1) * x->w * x->ld;
}

/* Backward the gradient of a band's input besides, and of rows that no window sees. */
static size_t max_scratch(const struct node *x, const struct node *in, bool grad)
{
	size_t back = grad ? max_input(x, in) + (size_t)x->stride * in->w * in->ld : 0;

	return sizeof(float) * (max_input(x, in) + max_output(x, in) + back);
}

static struct chunk max_chunks(const struct task *t)
{
	struct chunk c = chunk_over(t, t->x->h, t->x->w, MAX(1, max_target(t->in)));

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

	value_read(t, t->x->in[0], -1, c->n, 1, band_start(t, c), yb, t->scratch, F32, t->in->w);
}

static void max_forward(struct task *t)
{
	const struct node *x = t->x;
	float *tap[TAPS_MAX], *input = (float *)t->scratch, *output = input + max_input(x, t->in);

	for (struct chunk c = max_chunks(t); chunk_next(&c);) {
		float *out = output;

		read_band(t, &c);
		for (int y = c.y0; y < c.y1; y++)
			for (int o = 0; o < x->w; o++, out += x->ld) {
				int taps = window_taps(x, t->in, input, band_start(t, &c), y, o, tap);

				t->plan->kernels[F32]->max(out, (const float *const *)tap, taps, x->ld);
			}
		value_put(t, c.n, c.y0, output, (int64_t)(c.y1 - c.y0) * x->w);
	}
}

/* The rows of the input whose gradient is whole after a chunk: up to where the next one's windows begin. */
static int band_done(const struct task *t, const struct chunk *c)
{
	return c->y1 == t->x->h ? t->in->h : MAX(0, c->y1 * t->x->stride - t->x->pad);
}

/* band: the gradient of the input's rows from start on. */
static void add_windows(const struct task *t, const struct chunk *c, float *input, float *d, float *band, int start)
{
	const struct node *x = t->x, *in = t->in;
	float *tap[TAPS_MAX], *to[TAPS_MAX];

	for (int y = c->y0; y < c->y1; y++)
		for (int o = 0; o < x->w; o++, d += x->ld) {
			int taps = window_taps(x, in, input, start, y, o, tap);

			window_taps(x, in, band, start, y, o, to);
			t->plan->kernels[F32]->max_back(d, (const float *const *)tap, to, taps, x->ld);
		}
}

static void max_backward(struct task *t)
{
	const struct node *x = t->x, *in = t->in;
	float *input = (float *)t->scratch, *output = input + max_input(x, in), *band = output + max_output(x, in);
	size_t row = (size_t)in->w * in->ld, kept = 0;

	for (struct chunk c = max_chunks(t); chunk_next(&c);) {
		int start = band_start(t, &c), end = MIN(in->h, (c.y1 - 1) * x->stride - x->pad + x->k), done = band_done(t, &c);

		kept = c.y0 ? kept : 0;
		memset(band + kept * row, 0, (MAX(end, done) - start - kept) * row * sizeof(float));
		read_band(t, &c);
		gradient_read(t, c.n, 1, c.y0, c.y1, output, F32, x->w);
		add_windows(t, &c, input, output, band, start);
		gradient_give(t, 0, c.n, 1, start, done, band);
		kept = MAX(0, end - done);
		memmove(band, band + (done - start) * row, kept * row * sizeof(float));
	}
}

static const char *max_onnx(struct graph *g, const struct node *x)
{
	return graph_op(g, "MaxPool", IN(graph_in(g, x, 0)),
			ATTRIBUTES(MANY("kernel_shape", 2, x->k, x->k), MANY("pads", 4, x->pad, x->pad, x->pad, x->pad),
				   MANY("strides", 2, x->stride, x->stride)));
}

const struct op op_maxpool = {
	.entry = { "maxpool", "maximum over windows", NULL },
	.forward = max_forward,
	.backward = max_backward,
	.scratch = max_scratch,
	.onnx = max_onnx,
};
