#include "lib/image/blur.h"

#include <math.h>

#include "lib/image/pixels.h"

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

/* One row of w pixels: from its copy with edges to the next copy or to its place. */
static void pass_along(struct blur *b, const struct kernel *k, uint8_t *line, int w, uint8_t *out)
{
	int margin = k->radius + 1;

	memset(line, line[margin], margin);
	memset(line + margin + w, line[margin + w - 1], margin);
	for (int i = 0; i <= 2 * margin; i++)
		b->rows[i] = line + i;
	pixels_find()->box(b->rows, k->radius, k->inner, k->outer, w, out);
}

static void along(struct blur *b, const struct kernel *k, const uint8_t *in, int w, int h, uint8_t *out)
{
	uint8_t *line = b->line, *next = b->line + b->line_room / 2;
	int margin = k->radius + 1;

	for (int y = 0; y < h; y++) {
		memcpy(line + margin, in + (size_t)y * w, w);
		pass_along(b, k, line, w, next + margin);
		pass_along(b, k, next, w, line + margin);
		pass_along(b, k, line, w, out + (size_t)y * w);
	}
}

static void down(struct blur *b, const struct kernel *k, const uint8_t *in, int w, int h, uint8_t *out)
{
	int margin = k->radius + 1;

	for (int y = 0; y < h; y++) {
		for (int i = 0; i <= 2 * margin; i++)
			b->rows[i] = in + (size_t)MIN(MAX(y - margin + i, 0), h - 1) * w;
		pixels_find()->box(b->rows, k->radius, k->inner, k->outer, w, out + (size_t)y * w);
	}
}

static void blur_room(struct blur *b, const struct kernel *k, const struct planes *p)
{
	size_t line = 2 * ((size_t)p->w + 2 * (k->radius + 1) + PLANE_SLACK), rows = 2 * (k->radius + 1) + 1;

	planes_shape(&b->other, p->w, p->h);
	if (line > b->line_room) {
		free(b->line);
		b->line = xaligned(line);
		b->line_room = line;
	}
	if (rows > b->row_room) {
		b->rows = xrealloc(b->rows, rows, sizeof(*b->rows));
		b->row_room = rows;
	}
}

void blur(struct blur *b, struct planes *p, float sigma)
{
	_Static_assert(PASSES == 3, "written out for three");
	struct kernel k;

	if (sigma <= 0)
		return;
	k = kernel_of(box_radius(sigma));
	blur_room(b, &k, p);
	for (int c = 0; c < 3; c++) {
		along(b, &k, p->at[c], p->w, p->h, b->other.at[c]);
		down(b, &k, b->other.at[c], p->w, p->h, p->at[c]);
		down(b, &k, p->at[c], p->w, p->h, b->other.at[c]);
		down(b, &k, b->other.at[c], p->w, p->h, p->at[c]);
	}
}

void blur_release(struct blur *b)
{
	planes_release(&b->other);
	free(b->line);
	free(b->rows);
	*b = (struct blur)BLUR_INIT;
}
