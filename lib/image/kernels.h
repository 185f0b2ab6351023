/*
 * kernels.h - the loops over pixels that decide how fast augment is, compiled once for every instruction set
 *
 * All sets give the same bytes. Runs of bytes are planes (planes.h) or rows of them; a kernel may read and write up to
 * PLANE_SLACK bytes behind a run, so rows are written in ascending order and the last one has that much room behind it. Only
 * interleaved pixels are read and written exactly, for they may be anybody's memory.
 *
 *	const struct pixel_kernels *k = pixel_kernels();
 *
 *	k->blend(p->at[0], planes_bytes(p), 0, 1.2f);
 */
#ifndef IMAGE_KERNELS_H
#define IMAGE_KERNELS_H

#include "lib/image/resample.h"

struct pixel_kernels {
	/* w pixels R, G, B to three rows and back; mirror: from right to left. */
	void (*split)(const uint8_t *rgb, int w, uint8_t *const to[3]);
	void (*join)(const uint8_t *const from[3], int w, bool mirror, uint8_t *rgb);

	/* w outputs of each of three rows, by an axis whose outputs are made four at a time (resample.h). */
	void (*quads)(const struct quads *q, int w, const uint8_t *const in[3], uint8_t *const out[3]);
	/* The same by any axis. */
	void (*columns)(const struct axis *a, int w, const uint8_t *const in[3], uint8_t *const out[3]);
	/* One output row from count rows of w bytes that are pitch apart. */
	void (*rows)(const uint8_t *in, size_t pitch, int w, int count, const int32_t *weight, uint8_t *out);

	/* colour.h, on runs of n bytes. */
	void (*blend)(uint8_t *x, size_t n, int d, float f);
	void (*saturate)(uint8_t *r, uint8_t *g, uint8_t *b, size_t n, float f);
	void (*grey)(uint8_t *r, uint8_t *g, uint8_t *b, size_t n);
	void (*hue)(uint8_t *r, uint8_t *g, uint8_t *b, size_t n, int shift);
	uint64_t (*luma_sum)(const uint8_t *r, const uint8_t *g, const uint8_t *b, size_t n);

	/* blur.h: a row of w bytes from 2 * radius + 3 rows around it; the outermost two weigh outer, the others inner. */
	void (*box)(const uint8_t *const *in, int radius, uint32_t inner, uint32_t outer, int w, uint8_t *out);
};

/* The set for isa() (lib/base/isa.h). */
const struct pixel_kernels *pixel_kernels(void);

#endif
