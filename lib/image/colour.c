#include "lib/image/colour.h"

#include <math.h>

static inline size_t pixels(const struct planes *p)
{
	return (size_t)p->w * p->h;
}

static inline uint8_t luma(uint8_t r, uint8_t g, uint8_t b)
{
	return (uint8_t)((19595u * r + 38470u * g + 7471u * b + 0x8000u) >> 16);
}

static inline uint8_t blend(int d, int x, float f)
{
	float v = (float)d + f * (float)(x - d);

	return (uint8_t)(v <= 0 ? 0 : v >= 255 ? 255 : (int)v);
}

static void blend_constant(struct planes *p, int d, float f)
{
	uint8_t table[256];

	for (int x = 0; x < 256; x++)
		table[x] = blend(d, x, f);
	for (size_t i = 0; i < 3 * pixels(p); i++)
		p->at[0][i] = table[p->at[0][i]];
}

void colour_brightness(struct planes *p, float f)
{
	blend_constant(p, 0, f);
}

void colour_contrast(struct planes *p, float f)
{
	const uint8_t *r = p->at[0], *g = p->at[1], *b = p->at[2];
	uint64_t sum = 0;

	for (size_t i = 0; i < pixels(p); i++)
		sum += luma(r[i], g[i], b[i]);
	blend_constant(p, (int)((double)sum / pixels(p) + 0.5), f);
}

void colour_saturation(struct planes *p, float f)
{
	uint8_t *restrict r = p->at[0], *restrict g = p->at[1], *restrict b = p->at[2];

	for (size_t i = 0; i < pixels(p); i++) {
		uint8_t grey = luma(r[i], g[i], b[i]);

		r[i] = blend(grey, r[i], f);
		g[i] = blend(grey, g[i], f);
		b[i] = blend(grey, b[i], f);
	}
}

void colour_grey(struct planes *p)
{
	uint8_t *restrict r = p->at[0], *restrict g = p->at[1], *restrict b = p->at[2];

	for (size_t i = 0; i < pixels(p); i++)
		r[i] = g[i] = b[i] = luma(r[i], g[i], b[i]);
}

void colour_solarise(struct planes *p)
{
	uint8_t *x = p->at[0];

	for (size_t i = 0; i < 3 * pixels(p); i++)
		x[i] = x[i] < 128 ? x[i] : 255 - x[i];
}

/* --- hue: RGB -> 8-bit HSV, turn, back. The mix of float and double is Pillow's; other roundings give other pixels. --- */

struct hsv {
	uint8_t h, s, v;
};

static inline struct hsv to_hsv(int r, int g, int b)
{
	int max = MAX(r, MAX(g, b)), min = MIN(r, MIN(g, b));
	float range = (float)(max - min), rc, gc, bc, hue;
	double turn;

	if (max == min)
		return (struct hsv){ 0, 0, (uint8_t)max };
	rc = (float)(max - r) / range;
	gc = (float)(max - g) / range;
	bc = (float)(max - b) / range;
	hue = r == max ? bc - gc : g == max ? (float)(2.0 + rc - bc) : (float)(4.0 + gc - rc);
	turn = hue / 6.0 + 1.0;           /* 5/6 to 2 */
	hue = (float)(turn >= 1 ? turn - 1 : turn);
	return (struct hsv){ (uint8_t)(hue * 255.0), (uint8_t)(range / (float)max * 255.0), (uint8_t)max };
}

static inline uint8_t nearest(double x)
{
	return (uint8_t)(int)(x + 0.5);
}

/* Sector and remainder of each 8-bit hue, the same for every pixel. */
struct wheel {
	uint8_t sector[256];
	float rest[256];
};

static void wheel_fill(struct wheel *w)
{
	for (int h = 0; h < 256; h++) {
		int i = (int)floor((float)h * 6.0 / 255.0);

		w->sector[h] = (uint8_t)(i % 6);
		w->rest[h] = (float)((float)h * 6.0 / 255.0 - (float)i);
	}
}

static inline void from_hsv(const struct wheel *w, struct hsv c, uint8_t *r, uint8_t *g, uint8_t *b)
{
	float s = (float)(c.s / 255.0), f = w->rest[c.h], v = c.v;
	uint8_t low = nearest(v * (1.0 - s)), falling = nearest(v * (1.0 - s * f)), rising = nearest(v * (1.0 - s * (1.0 - f)));
	const uint8_t mix[6][3] = {
		{ c.v, rising, low }, { falling, c.v, low }, { low, c.v, rising },
		{ low, falling, c.v }, { rising, low, c.v }, { c.v, low, falling },
	};
	const uint8_t *m = mix[w->sector[c.h]];

	*r = m[0];
	*g = m[1];
	*b = m[2];
}

void colour_hue(struct planes *p, float turn)
{
	uint8_t *r = p->at[0], *g = p->at[1], *b = p->at[2];
	uint8_t shift = (uint8_t)(int)((double)turn * 255);
	struct wheel wheel;

	wheel_fill(&wheel);
	for (size_t i = 0; i < pixels(p); i++) {
		struct hsv c = to_hsv(r[i], g[i], b[i]);

		c.h += shift;
		if (c.s == 0)
			r[i] = g[i] = b[i] = c.v;
		else
			from_hsv(&wheel, c, &r[i], &g[i], &b[i]);
	}
}
