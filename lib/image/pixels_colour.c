/* pixels_colour.c - the arithmetic of colour.h */
#include "lib/image/pixels_isa.h"

INLINE ints luma(ints r, ints g, ints b)
{
	return (19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16;
}

/* trunc(d + f * (x - d)), clipped */
INLINE ints mix(ints d, ints x, float f)
{
	return lanes_clip(lanes_int(lanes_float(d) + f * lanes_float(x - d)));
}

void ISA(pixels_blend)(uint8_t *x, size_t n, int d, float f)
{
	for (size_t i = 0; i < n; i += LANES)
		lanes_store(x + i, mix(lanes_all(d), lanes_load(x + i), f));
}

void ISA(pixels_saturate)(uint8_t *r, uint8_t *g, uint8_t *b, size_t n, float f)
{
	for (size_t i = 0; i < n; i += LANES) {
		ints vr = lanes_load(r + i), vg = lanes_load(g + i), vb = lanes_load(b + i), grey = luma(vr, vg, vb);

		lanes_store(r + i, mix(grey, vr, f));
		lanes_store(g + i, mix(grey, vg, f));
		lanes_store(b + i, mix(grey, vb, f));
	}
}

void ISA(pixels_grey)(uint8_t *r, uint8_t *g, uint8_t *b, size_t n)
{
	for (size_t i = 0; i < n; i += LANES) {
		ints grey = luma(lanes_load(r + i), lanes_load(g + i), lanes_load(b + i));

		lanes_store(r + i, grey);
		lanes_store(g + i, grey);
		lanes_store(b + i, grey);
	}
}

/* A lane holds the sum of 2^23 pixels; no picture gives one more. */
uint64_t ISA(pixels_luma_sum)(const uint8_t *r, const uint8_t *g, const uint8_t *b, size_t n)
{
	ints sums = { 0 };
	uint64_t total = 0;
	size_t i = 0;

	for (; i + LANES <= n; i += LANES)
		sums += luma(lanes_load(r + i), lanes_load(g + i), lanes_load(b + i));
	for (int k = 0; k < LANES; k++)
		total += (uint32_t)sums[k];
	for (; i < n; i++)
		total += (19595u * r[i] + 38470u * g[i] + 7471u * b[i] + 0x8000u) >> 16;
	return total;
}

/*
 * --- hue: RGB to 8-bit HSV, a turn, and back ---
 *
 * Pillow does this in a mix of float and double, but only bytes come out of each step, and there are few enough cases to try
 * them all (test_image.py, every colour). Saturation and the three values between black and the largest channel turn out to
 * be the rounded quotients of integers; the hue is that of the float expression in to_hsv(), whose order of operations counts.
 */

struct hsv {
	ints h, s, v;
};

/* The hue is 1 - t or -1 + t sixths of the circle when red is largest, 3 - t or 1 + t when green is, 5 - t or 3 + t when blue
 * is; t tells how far the middle channel is below the largest. */
INLINE struct hsv to_hsv(ints r, ints g, ints b)
{
	ints max = lanes_max(r, lanes_max(g, b)), min = lanes_min(r, lanes_min(g, b));
	ints range = max - min, below = max + max + min - r - g - b;
	ints is_r = r == max, is_g = g == max;
	ints minus = lanes_choose(is_r, b, lanes_choose(is_g, r, g)) == min;
	ints base = lanes_choose(is_r, lanes_all(-1), lanes_choose(is_g, lanes_all(1), lanes_all(3))) + (minus & 2);
	floats t = lanes_float(below) / lanes_float(lanes_max(range, lanes_all(1)));
	floats hue = (lanes_float(base) + (floats)((ints)t ^ (minus & INT32_MIN))) / 6.0f;

	hue += (floats)((ints)((floats){ 0 } + 1) & (hue < 0));
	return (struct hsv){ lanes_int(hue * 255.0f),
			     lanes_int(lanes_float(range * 255) / lanes_float(lanes_max(max, lanes_all(1)))), max };
}

/* In each sixth of the circle one channel is the largest, one the smallest, one between; the sets say in which sixths. */
INLINE ints place(ints sixth, int largest, int between, struct hsv c, ints middle, ints smallest)
{
	return lanes_choose((sixth & largest) != 0, c.v, lanes_choose((sixth & between) != 0, middle, smallest));
}

/* h * 6 / 255 splits into the sixth and how far into it, in 255ths. */
INLINE void from_hsv(struct hsv c, uint8_t *r, uint8_t *g, uint8_t *b)
{
	ints i = (c.h * 1542 + 20) >> 16, rest = c.h * 6 - i * 255, fade = lanes_choose((i & 1) != 0, rest, 255 - rest);
	ints product = c.v * (255 - c.s) + 128, smallest = (product + (product >> 8)) >> 8;
	ints middle = lanes_int(lanes_float(c.v * (65025 - c.s * fade) + 32512) * (1 / 65025.0f));
	ints sixth = lanes_all(1) << i;

	lanes_store(r, place(sixth, 1 << 0 | 1 << 5 | 1 << 6, 1 << 1 | 1 << 4, c, middle, smallest));
	lanes_store(g, place(sixth, 1 << 1 | 1 << 2, 1 << 0 | 1 << 3 | 1 << 6, c, middle, smallest));
	lanes_store(b, place(sixth, 1 << 3 | 1 << 4, 1 << 2 | 1 << 5, c, middle, smallest));
}

void ISA(pixels_hue)(uint8_t *r, uint8_t *g, uint8_t *b, size_t n, int shift)
{
	for (size_t i = 0; i < n; i += LANES) {
		struct hsv c = to_hsv(lanes_load(r + i), lanes_load(g + i), lanes_load(b + i));

		c.h = (c.h + shift) & 255;
		from_hsv(c, r + i, g + i, b + i);
	}
}
