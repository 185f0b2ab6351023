#include "lib/image/resample.h"

#include <math.h>

enum { BITS = 22, HALF = 1 << (BITS - 1) };

static double bilinear(double x)
{
	x = fabs(x);
	return x < 1 ? 1 - x : 0;
}

/* Keys 1981, "Cubic convolution interpolation", a = -1/2. */
static double bicubic(double x)
{
	const double a = -0.5;

	x = fabs(x);
	if (x < 1)
		return ((a + 2) * x - (a + 3)) * x * x + 1;
	if (x < 2)
		return (((x - 5) * x + 8) * x - 4) * a;
	return 0;
}

static const struct {
	double (*at)(double x);
	double support;
} filters[] = { [FILTER_BILINEAR] = { bilinear, 1 }, [FILTER_BICUBIC] = { bicubic, 2 } };

static void axis_room(struct axis *a, int count, int taps)
{
	a->taps = taps;
	if ((size_t)count > a->room) {
		a->first = xrealloc(a->first, count, sizeof(*a->first));
		a->count = xrealloc(a->count, count, sizeof(*a->count));
		a->room = count;
	}
	if ((size_t)count * taps > a->weight_room) {
		a->weight_room = (size_t)count * taps;
		a->weight = xrealloc(a->weight, a->weight_room, sizeof(*a->weight));
	}
}

static void axis_release(struct axis *a)
{
	free(a->first);
	free(a->count);
	free(a->weight);
}

/* Weights of one output pixel in double precision, summed in this order, then rounded away from zero to BITS. */
static void set_weights(enum filter filter, double center, double stretch, int first, int count, int32_t *weight)
{
	double sum = 0;

	for (int k = 0; k < count; k++)
		sum += filters[filter].at((k + first - center + 0.5) * (1 / stretch));
	for (int k = 0; k < count; k++) {
		double w = filters[filter].at((k + first - center + 0.5) * (1 / stretch));

		if (sum != 0)
			w /= sum;
		weight[k] = (int32_t)(w < 0 ? -0.5 + w * (1 << BITS) : 0.5 + w * (1 << BITS));
	}
}

/* Plans outputs [begin, begin + count) of a resize from in to out pixels. */
static void axis_plan(struct axis *a, enum filter filter, int in, int out, int begin, int count)
{
	double scale = (double)in / out, stretch = MAX(scale, 1.0), support = filters[filter].support * stretch;

	axis_room(a, count, (int)ceil(support) * 2 + 1);
	for (int i = 0; i < count; i++) {
		double center = (begin + i + 0.5) * scale;
		int lo = MAX((int)(center - support + 0.5), 0), hi = MIN((int)(center + support + 0.5), in);

		a->first[i] = lo;
		a->count[i] = hi - lo;
		set_weights(filter, center, stretch, lo, hi - lo, a->weight + (size_t)i * a->taps);
	}
}

static inline uint8_t clip(int32_t v)
{
	v >>= BITS;
	return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* Columns of one row: interleaved in, planes out. */
static void columns_row(const struct axis *a, int width, const uint8_t *rgb, uint8_t *r, uint8_t *g, uint8_t *b)
{
	for (int x = 0; x < width; x++) {
		const uint8_t *p = rgb + (size_t)a->first[x] * 3;
		const int32_t *weight = a->weight + (size_t)x * a->taps;
		int32_t sr = HALF, sg = HALF, sb = HALF;

		for (int k = 0, n = a->count[x]; k < n; k++, p += 3) {
			sr += p[0] * weight[k];
			sg += p[1] * weight[k];
			sb += p[2] * weight[k];
		}
		r[x] = clip(sr);
		g[x] = clip(sg);
		b[x] = clip(sb);
	}
}

static void split_row(int width, const uint8_t *rgb, uint8_t *r, uint8_t *g, uint8_t *b)
{
	for (int x = 0; x < width; x++) {
		r[x] = rgb[x * 3];
		g[x] = rgb[x * 3 + 1];
		b[x] = rgb[x * 3 + 2];
	}
}

/* One row of a plane from the rows that weigh in. */
static void rows_row(const uint8_t *plane, int width, int first, int count, const int32_t *weight, int32_t *sums, uint8_t *out)
{
	for (int x = 0; x < width; x++)
		sums[x] = HALF;
	for (int k = 0; k < count; k++) {
		const uint8_t *p = plane + (size_t)(first + k) * width;
		int32_t w = weight[k];

		for (int x = 0; x < width; x++)
			sums[x] += p[x] * w;
	}
	for (int x = 0; x < width; x++)
		out[x] = clip(sums[x]);
}

/* All columns of the input rows [y0, y0 + out->h). An axis that keeps its size is copied: its weights would be 1 and 0. */
static void columns(struct resampler *s, const uint8_t *rgb, size_t pitch, int y0, bool same, int x0, struct planes *out)
{
	for (int y = 0; y < out->h; y++) {
		const uint8_t *row = rgb + (size_t)(y0 + y) * pitch;
		size_t at = (size_t)y * out->w;

		if (same)
			split_row(out->w, row + (size_t)x0 * 3, out->at[0] + at, out->at[1] + at, out->at[2] + at);
		else
			columns_row(&s->x, out->w, row, out->at[0] + at, out->at[1] + at, out->at[2] + at);
	}
}

static void rows(struct resampler *s, int y0, struct planes *out)
{
	if ((size_t)out->w > s->sums_room) {
		s->sums = xrealloc(s->sums, out->w, sizeof(*s->sums));
		s->sums_room = out->w;
	}
	for (int c = 0; c < 3; c++)
		for (int y = 0; y < out->h; y++)
			rows_row(s->middle.at[c], out->w, s->y.first[y] - y0, s->y.count[y], s->y.weight + (size_t)y * s->y.taps, s->sums,
				 out->at[c] + (size_t)y * out->w);
}

void resample(struct resampler *s, const uint8_t *rgb, size_t pitch, int w, int h, enum filter filter, int out_w, int out_h,
	      struct box part, struct planes *out)
{
	int y0, last = part.h - 1;

	planes_shape(out, part.w, part.h);
	if (w != out_w)
		axis_plan(&s->x, filter, w, out_w, part.x, part.w);
	if (h == out_h) {
		columns(s, rgb, pitch, part.y, w == out_w, part.x, out);
		return;
	}
	axis_plan(&s->y, filter, h, out_h, part.y, part.h);
	y0 = s->y.first[0];
	planes_shape(&s->middle, part.w, s->y.first[last] + s->y.count[last] - y0);
	columns(s, rgb, pitch, y0, w == out_w, part.x, &s->middle);
	rows(s, y0, out);
}

void resampler_release(struct resampler *s)
{
	axis_release(&s->x);
	axis_release(&s->y);
	planes_release(&s->middle);
	free(s->sums);
	*s = (struct resampler)RESAMPLER_INIT;
}
