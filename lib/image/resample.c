#include "lib/image/resample.h"

#include <math.h>

#include "lib/image/pixels.h"

/* WEIGHTS: the 32-bit lanes of the widest vector. */
enum { BITS = 22, WEIGHTS = 16 };

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
	a->pitch = (taps + WEIGHTS - 1) / WEIGHTS * WEIGHTS;
	if ((size_t)count > a->room) {
		a->first = xrealloc(a->first, count, sizeof(*a->first));
		a->count = xrealloc(a->count, count, sizeof(*a->count));
		a->room = count;
	}
	if ((size_t)count * a->pitch > a->weight_room) {
		a->weight_room = (size_t)count * a->pitch;
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
static void set_weights(enum filter filter, double center, double stretch, int first, int count, int pitch, int32_t *weight)
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
	memset(weight + count, 0, (pitch - count) * sizeof(*weight));
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
		set_weights(filter, center, stretch, lo, hi - lo, a->pitch, a->weight + (size_t)i * a->pitch);
	}
}

/* --- quads --- */

/* How many taps each output gets, so that all weights of an axis can be laid out alike; 0: four neighbours reach too far. */
static int quad_taps(const struct axis *a, int count)
{
	int taps = 0;

	for (int i = 0; i < count; i++)
		taps = MAX(taps, a->count[i]);
	for (int i = 0; i < count; i += 4)
		if (a->first[MIN(i + 3, count - 1)] + taps - a->first[i] > QUAD_REACH)
			return 0;
	return taps;
}

/* Lanes are made up to a whole number of the widest vectors. */
static void quads_room(struct quads *q, int taps, int count)
{
	size_t need;

	q->taps = taps;
	q->pitch = (count + WEIGHTS - 1) / WEIGHTS * WEIGHTS;
	need = (size_t)q->pitch * (taps + 2);
	if (need > q->room) {
		free(q->base);
		q->base = xaligned(need * sizeof(*q->base));
		q->room = need;
	}
	q->pick = q->base + q->pitch;
	q->weight = q->pick + q->pitch;
}

/* PICK is 128 in every byte of a lane but the lowest: the shuffle instruction of x86 then gives zero. */
static void quads_plan(struct quads *q, const struct axis *a, int taps, int count)
{
	const int32_t PICK = (int32_t)0x80808000;

	quads_room(q, taps, count);
	for (int i = 0; i < q->pitch; i++) {
		int at = MIN(i, count - 1), base = MIN(i / 4 * 4, count - 1);

		q->base[i / 4] = a->first[base];
		q->pick[i] = PICK | (a->first[at] - a->first[base]);
		for (int k = 0; k < taps; k++)
			q->weight[(size_t)k * q->pitch + i] = a->weight[(size_t)at * a->pitch + k];
	}
}

/* --- passes --- */

static void line_room(struct resampler *s, int w)
{
	size_t need = (size_t)w + PLANE_SLACK;

	if (need > s->line_room) {
		free(s->line[0]);
		s->line[0] = xaligned(3 * need);
		s->line_room = need;
	}
	s->line[1] = s->line[0] + s->line_room;
	s->line[2] = s->line[1] + s->line_room;
}

/* All columns of the input rows [y0, y0 + out->h) of w pixels. */
static void columns(struct resampler *s, const uint8_t *rgb, size_t pitch, int y0, int w, struct planes *out)
{
	const struct pixels *k = pixels_find();
	int taps = quad_taps(&s->x, out->w);

	line_room(s, w);
	if (taps)
		quads_plan(&s->quads, &s->x, taps, out->w);
	for (int y = 0; y < out->h; y++) {
		size_t at = (size_t)y * out->w;
		uint8_t *const row[3] = { out->at[0] + at, out->at[1] + at, out->at[2] + at };

		k->split(rgb + (y0 + y) * pitch, w, s->line);
		if (taps)
			k->quads(&s->quads, out->w, (const uint8_t *const *)s->line, row);
		else
			k->columns(&s->x, out->w, (const uint8_t *const *)s->line, row);
	}
}

/* The columns of an axis that keeps its size are copied: their weights would be 1 and 0. */
static void copy_columns(const uint8_t *rgb, size_t pitch, int y0, int x0, struct planes *out)
{
	for (int y = 0; y < out->h; y++) {
		size_t at = (size_t)y * out->w;

		pixels_find()->split(rgb + (y0 + y) * pitch + (size_t)x0 * 3, out->w,
				       (uint8_t *const[]){ out->at[0] + at, out->at[1] + at, out->at[2] + at });
	}
}

static void rows(const struct resampler *s, int y0, struct planes *out)
{
	const struct axis *a = &s->y;

	for (int c = 0; c < 3; c++)
		for (int y = 0; y < out->h; y++)
			pixels_find()->rows(s->middle.at[c] + (size_t)(a->first[y] - y0) * out->w, out->w, out->w, a->count[y],
					      a->weight + (size_t)y * a->pitch, out->at[c] + (size_t)y * out->w);
}

void resample(struct resampler *s, const uint8_t *rgb, size_t pitch, int w, int h, enum filter filter, int out_w, int out_h,
	      struct box part, struct planes *out)
{
	struct planes *middle = h == out_h ? out : &s->middle;
	int y0 = part.y, last = part.h - 1;

	planes_shape(out, part.w, part.h);
	if (h != out_h) {
		axis_plan(&s->y, filter, h, out_h, part.y, part.h);
		y0 = s->y.first[0];
		planes_shape(middle, part.w, s->y.first[last] + s->y.count[last] - y0);
	}
	if (w == out_w) {
		copy_columns(rgb, pitch, y0, part.x, middle);
	} else {
		axis_plan(&s->x, filter, w, out_w, part.x, part.w);
		columns(s, rgb, pitch, y0, w, middle);
	}
	if (h != out_h)
		rows(s, y0, out);
}

void resampler_release(struct resampler *s)
{
	axis_release(&s->x);
	axis_release(&s->y);
	free(s->quads.base);
	planes_release(&s->middle);
	free(s->line[0]);
	*s = (struct resampler)RESAMPLER_INIT;
}
