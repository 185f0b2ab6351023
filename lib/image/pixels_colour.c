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
