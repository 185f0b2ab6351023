/*
 * pixels.h - the loops over pixels that decide how fast augment is, compiled once for every instruction set
 *
 * All sets give the same bytes. Runs of bytes are planes (planes.h) or rows of them; a loop may read and write up to
 * PLANE_SLACK bytes behind a run, so rows are written in ascending order and the last one has that much room behind it. Only
 * interleaved pixels are read and written exactly, for they may be anybody's memory.
 *
 *	const struct pixels *k = pixels_find();
 *
 *	k->blend(p->at[0], planes_bytes(p), 0, 1.2f);
 */
#ifndef IMAGE_PIXELS_H
#define IMAGE_PIXELS_H

#include "lib/base/base.h"

/* One axis of a resize: output i is the sum over k < count[i] of input[first[i] + k] * weight[i * pitch + k]; the weights up to
 * the next pitch are zero. */
struct axis {
	int pitch;
	int *first, *count;
	int32_t *weight;
	size_t room, weight_room;
};

/* An axis whose outputs are made four at a time, because the inputs of four neighbours lie within QUAD_REACH bytes: those of
 * outputs 4 * i to 4 * i + 3 begin at base[i]. Output i is the sum over k < taps of
 * input[base[i / 4] + pick[i] % QUAD_REACH + k] * weight[k * pitch + i]. */
enum { QUAD_REACH = 16 };
struct quads {
	int taps, pitch;
	int32_t *base, *pick, *weight;
	size_t room;
};

/* Every loop, declared once: LOOP(type, name, arguments). */
#define PIXELS(LOOP) \
	/* w pixels R, G, B to three rows and back; mirror: from right to left. */ \
	LOOP(void, split, (const uint8_t *rgb, int w, uint8_t *const to[3])) \
	LOOP(void, join, (const uint8_t *const from[3], int w, bool mirror, uint8_t *rgb)) \
	/* w outputs of each of three rows, by an axis whose outputs are made four at a time. */ \
	LOOP(void, quads, (const struct quads *q, int w, const uint8_t *const in[3], uint8_t *const out[3])) \
	/* The same by any axis. */ \
	LOOP(void, columns, (const struct axis *a, int w, const uint8_t *const in[3], uint8_t *const out[3])) \
	/* One output row from count rows of w bytes that are pitch apart. */ \
	LOOP(void, rows, (const uint8_t *in, size_t pitch, int w, int count, const int32_t *weight, uint8_t *out)) \
	/* colour.h, on runs of n bytes. */ \
	LOOP(void, blend, (uint8_t *x, size_t n, int d, float f)) \
	LOOP(void, saturate, (uint8_t *r, uint8_t *g, uint8_t *b, size_t n, float f)) \
	LOOP(void, grey, (uint8_t *r, uint8_t *g, uint8_t *b, size_t n)) \
	LOOP(void, hue, (uint8_t *r, uint8_t *g, uint8_t *b, size_t n, int shift)) \
	LOOP(uint64_t, luma_sum, (const uint8_t *r, const uint8_t *g, const uint8_t *b, size_t n)) \
	/* blur.h: a row of w bytes from 2 * radius + 3 rows around it; the outermost two weigh outer, the others inner. */ \
	LOOP(void, box, (const uint8_t *const *in, int radius, uint32_t inner, uint32_t outer, int w, uint8_t *out))

#define PIXELS_MEMBER(type, name, arguments) type (*name)arguments;
struct pixels {
	PIXELS(PIXELS_MEMBER)
};

/* The set for isa() (lib/base/isa.h). */
const struct pixels *pixels_find(void);

#endif
