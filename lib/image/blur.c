#include "lib/image/blur.h"

#include <math.h>

enum { PASSES = 3 };

/* Weights of a box filter with 24 fractional bits: inner for the 2 * radius + 1 pixels around, outer for one more each side. */
struct kernel {
	int radius;
	uint32_t inner, outer;
};

/* Gwosdek et al. 2011, equations 7, 11 and 14: the box whose PASSES-fold repetition has the variance sigma^2. */
static float box_radius(float sigma)
{
	float variance = sigma * sigma / PASSES;
	float length = (float)sqrt(12.0 * variance + 1.0);
	float whole = (float)floor((length - 1.0) / 2.0);
	float part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance);

	part /= 6 * (variance - (whole + 1) * (whole + 1));
	return whole + part;
}

static struct kernel kernel_of(float radius)
{
	struct kernel k = { .radius = (int)radius };

	k.inner = (uint32_t)((1 << 24) / (radius * 2 + 1));
	k.outer = ((1 << 24) - (k.radius * 2 + 1) * k.inner) / 2;
	return k;
}

static inline const uint8_t *row_at(const uint8_t *plane, int w, int h, int y)
{
	return plane + (size_t)(y < 0 ? 0 : y >= h ? h - 1 : y) * w;
}

static void add_row(uint32_t *restrict sums, const uint8_t *restrict row, int w)
{
	for (int x = 0; x < w; x++)
		sums[x] += row[x];
}

/* Down the columns of a (h, w) plane: sums[x] holds the box around the row before, and moves by one row a step. */
static void box_pass(const struct kernel *k, const uint8_t *in, int w, int h, uint32_t *restrict sums, uint8_t *out)
{
	memset(sums, 0, (size_t)w * sizeof(*sums));
	for (int y = -1 - k->radius; y < k->radius; y++)
		add_row(sums, row_at(in, w, h, y), w);
	for (int y = 0; y < h; y++) {
		const uint8_t *before = row_at(in, w, h, y - k->radius - 1), *enter = row_at(in, w, h, y + k->radius);
		const uint8_t *after = row_at(in, w, h, y + k->radius + 1);
		uint8_t *restrict o = out + (size_t)y * w;

		for (int x = 0; x < w; x++) {
			uint32_t sum = sums[x] + enter[x] - before[x];

			sums[x] = sum;
			o[x] = (uint8_t)((sum * k->inner + (uint32_t)(before[x] + after[x]) * k->outer + (1u << 23)) >> 24);
		}
	}
}

/* (h, w) to (w, h), in tiles that stay in the first cache. */
static void transpose(const uint8_t *in, int w, int h, uint8_t *out)
{
	enum { TILE = 16 };

	for (int y0 = 0; y0 < h; y0 += TILE)
		for (int x0 = 0; x0 < w; x0 += TILE)
			for (int x = x0; x < MIN(x0 + TILE, w); x++)
				for (int y = y0; y < MIN(y0 + TILE, h); y++)
					out[(size_t)x * h + y] = in[(size_t)y * w + x];
}

/* An odd number of passes ends in the other buffer. */
static void passes(const struct kernel *k, uint8_t *plane, uint8_t *other, int w, int h, uint32_t *sums)
{
	_Static_assert(PASSES == 3, "written out for three");

	box_pass(k, plane, w, h, sums, other);
	box_pass(k, other, w, h, sums, plane);
	box_pass(k, plane, w, h, sums, other);
}

static void blur_room(struct blur *b, const struct planes *p)
{
	size_t plane = (size_t)p->w * p->h, side = MAX(p->w, p->h);

	if (plane > b->room) {
		free(b->turned);
		free(b->other);
		b->turned = xaligned(plane);
		b->other = xaligned(plane);
		b->room = plane;
	}
	if (side > b->sums_room) {
		free(b->sums);
		b->sums = xaligned(side * sizeof(*b->sums));
		b->sums_room = side;
	}
}

void blur(struct blur *b, struct planes *p, float sigma)
{
	struct kernel k;

	if (sigma <= 0)
		return;
	k = kernel_of(box_radius(sigma));
	blur_room(b, p);
	for (int c = 0; c < 3; c++) {
		transpose(p->at[c], p->w, p->h, b->turned);
		passes(&k, b->turned, b->other, p->h, p->w, b->sums);
		transpose(b->other, p->h, p->w, p->at[c]);
		passes(&k, p->at[c], b->other, p->w, p->h, b->sums);
		memcpy(p->at[c], b->other, (size_t)p->w * p->h);
	}
}

void blur_release(struct blur *b)
{
	free(b->turned);
	free(b->other);
	free(b->sums);
	*b = (struct blur)BLUR_INIT;
}
