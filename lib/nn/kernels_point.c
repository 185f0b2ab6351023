/* kernels_point.c - loops that touch every element once: read, gradient through batch norm, column sums */
#include "lib/nn/kernels_isa.h"

/*
 * Rows go eight at a time, channels inside: per-channel vectors and column sums are loaded once for the eight, and narrow arrays,
 * which have the most rows, need no loop of their own. CALL(row, rows) must inline a block of a constant number of rows.
 */
#define BLOCK 8
#define BY_BLOCKS(rows, CALL) do { \
	int64_t row_ = 0; \
	for (; row_ + BLOCK <= (rows); row_ += BLOCK) \
		CALL(row_, BLOCK); \
	for (; row_ < (rows); row_++) \
		CALL(row_, 1); \
} while (0)
/* Lets the compiler know that there is no remainder. */
#define WHOLE(ld) ((ld) / LANES * LANES)

/* --- reading forward --- */

INLINE void read_block(float *restrict dst, const float *restrict src, int ld, const struct affine *f, const float *restrict gate,
		       enum act act, bool scaled, bool gated, bool add, int rows)
{
	const float *restrict scale = f->scale, *restrict shift = f->shift;

#pragma omp simd
	for (int c = 0; c < WHOLE(ld); c++) {
#pragma GCC unroll 8
		for (int r = 0; r < rows; r++) {
			float v = act_value(act, scaled ? src[r * ld + c] * scale[c] + shift[c] : src[r * ld + c]);

			if (gated)
				v *= gate[c];
			dst[r * ld + c] = add ? dst[r * ld + c] + v : v;
		}
	}
}

INLINE void read_any(float *dst, const float *src, int64_t rows, int ld, const struct affine *f, const float *gate, enum act act,
		     bool add)
{
#define READ(row, n, scaled, gated, add) read_block(dst + (row) * ld, src + (row) * ld, ld, f, gate, act, scaled, gated, add, n)
#define ADDED(row, n) READ(row, n, true, false, true)
#define ADDED_RAW(row, n) READ(row, n, false, false, true)
#define GATED(row, n) READ(row, n, true, true, false)
#define SCALED(row, n) READ(row, n, true, false, false)
#define RAW(row, n) READ(row, n, false, false, false)
	if (add && f->scale)
		BY_BLOCKS(rows, ADDED);
	else if (add)
		BY_BLOCKS(rows, ADDED_RAW);
	else if (gate)
		BY_BLOCKS(rows, GATED);
	else if (f->scale)
		BY_BLOCKS(rows, SCALED);
	else
		BY_BLOCKS(rows, RAW);
}

void ISA(read)(float *dst, const float *src, int64_t rows, int ld, const struct affine *f, const float *gate, enum act act,
	       bool add)
{
#define ONE(a) read_any(dst, src, rows, ld, f, gate, a, add)
	FOR_ACT(act, ONE)
#undef ONE
}

void ISA(read_view)(float *restrict dst, const uint8_t *restrict src, int64_t n, const float scale[3], const float shift[3])
{
	float s[48], b[48];

	for (int i = 0; i < 48; i++)
		s[i] = scale[i % 3], b[i] = shift[i % 3];
	n *= 3;
	for (; n >= 48; n -= 48, dst += 48, src += 48)
#pragma omp simd
		for (int i = 0; i < 48; i++)
			dst[i] = src[i] * s[i] + b[i];
	for (int i = 0; i < n; i++)
		dst[i] = src[i] * s[i] + b[i];
}

/* --- column sums --- */

INLINE void moments_block(const float *restrict x, int ld, const float *restrict origin, float *restrict sum,
			  float *restrict squares, int rows)
{
#pragma omp simd
	for (int c = 0; c < WHOLE(ld); c++) {
		float s = 0, q = 0;

#pragma GCC unroll 8
		for (int r = 0; r < rows; r++) {
			float v = x[r * ld + c] - origin[c];

			s += v;
			q += v * v;
		}
		sum[c] += s;
		squares[c] += q;
	}
}

void ISA(moments)(const float *x, int64_t rows, int ld, float *sum, float *squares)
{
	memset(sum, 0, ld * sizeof(float));
	memset(squares, 0, ld * sizeof(float));
#define CALL(row, n) moments_block(x + (row) * ld, ld, x, sum, squares, n)
	BY_BLOCKS(rows, CALL);
#undef CALL
}

INLINE void pool_block(const float *restrict raw, int ld, const struct affine *f, enum act act, float *restrict sum,
		       float *restrict slopes, float *restrict dots, bool scaled, bool sloped, int rows)
{
	const float *restrict scale = f->scale, *restrict shift = f->shift;
	const float *restrict xscale = f->xscale, *restrict xshift = f->xshift;

#pragma omp simd
	for (int c = 0; c < WHOLE(ld); c++) {
		float v = 0, s = 0, q = 0;

#pragma GCC unroll 8
		for (int r = 0; r < rows; r++) {
			float x = raw[r * ld + c], z = scaled ? x * scale[c] + shift[c] : x;

			v += act_value(act, z);
			if (sloped) {
				s += act_slope(act, z);
				q += act_slope(act, z) * (x * xscale[c] + xshift[c]);
			}
		}
		sum[c] += v;
		if (sloped) {
			slopes[c] += s;
			dots[c] += q;
		}
	}
}

INLINE void pool_any(const float *raw, int64_t rows, int ld, const struct affine *f, enum act act, float *sum, float *slopes,
		     float *dots)
{
#define SLOPED(row, n) pool_block(raw + (row) * ld, ld, f, act, sum, slopes, dots, true, true, n)
#define SUMMED(row, n) pool_block(raw + (row) * ld, ld, f, act, sum, NULL, NULL, true, false, n)
#define SUMMED_RAW(row, n) pool_block(raw + (row) * ld, ld, f, act, sum, NULL, NULL, false, false, n)
	if (slopes)
		BY_BLOCKS(rows, SLOPED);
	else if (f->scale)
		BY_BLOCKS(rows, SUMMED);
	else
		BY_BLOCKS(rows, SUMMED_RAW);
}

void ISA(pool)(const float *raw, int64_t rows, int ld, const struct affine *f, enum act act, float *sum, float *slopes,
	       float *dots)
{
#define ONE(a) pool_any(raw, rows, ld, f, a, sum, slopes, dots)
	FOR_ACT(act, ONE)
#undef ONE
}

/* --- reading backward --- */

INLINE void grad_block(float *restrict dst, const float *restrict d, const float *restrict raw, int ld, const float *restrict k,
		       int rows)
{
	const float *restrict k1 = k + ld, *restrict k2 = k1 + ld;

#pragma omp simd
	for (int c = 0; c < WHOLE(ld); c++) {
#pragma GCC unroll 8
		for (int r = 0; r < rows; r++)
			dst[r * ld + c] = k[c] * d[r * ld + c] + (k1[c] * raw[r * ld + c] + k2[c]);
	}
}

void ISA(grad)(float *dst, const float *d, const float *raw, int64_t rows, int ld, const float *c)
{
#define CALL(row, n) grad_block(dst + (row) * ld, d + (row) * ld, raw + (row) * ld, ld, c, n)
	BY_BLOCKS(rows, CALL);
#undef CALL
}

INLINE void grad_pooled_block(float *restrict dst, const float *restrict d, const float *restrict raw, int ld,
			      const float *restrict k, const struct affine *f, enum act act, const float *restrict gate,
			      const float *restrict pooled, bool stored, int rows)
{
	const float *restrict k1 = k + ld, *restrict k2 = k1 + ld, *restrict scale = f->scale, *restrict shift = f->shift;

#pragma omp simd
	for (int c = 0; c < WHOLE(ld); c++) {
#pragma GCC unroll 8
		for (int r = 0; r < rows; r++) {
			float x = raw[r * ld + c], dz = pooled[c] * act_slope(act, x * scale[c] + shift[c]);

			if (stored)
				dz += gate[c] * d[r * ld + c];
			dst[r * ld + c] = k[c] * dz + (k1[c] * x + k2[c]);
		}
	}
}

INLINE void grad_pooled_any(float *dst, const float *d, const float *raw, int64_t rows, int ld, const float *k,
			    const struct affine *f, enum act act, const float *gate, const float *pooled)
{
#define STORED(row, n) grad_pooled_block(dst + (row) * ld, d + (row) * ld, raw + (row) * ld, ld, k, f, act, gate, pooled, true, n)
#define POOLED(row, n) grad_pooled_block(dst + (row) * ld, NULL, raw + (row) * ld, ld, k, f, act, NULL, pooled, false, n)
	if (d)
		BY_BLOCKS(rows, STORED);
	else
		BY_BLOCKS(rows, POOLED);
}

void ISA(grad_pooled)(float *dst, const float *d, const float *raw, int64_t rows, int ld, const float *c, const struct affine *f,
		      enum act act, const float *gate, const float *pooled)
{
#define ONE(a) grad_pooled_any(dst, d, raw, rows, ld, c, f, a, gate, pooled)
	FOR_ACT(act, ONE)
#undef ONE
}

/* --- writing backward --- */

INLINE void finish_block(float *restrict d, const float *restrict raw, int ld, const struct affine *f, enum act act,
			 float *restrict sum, float *restrict dots, float *restrict gates, bool scaled, bool normed, bool gated,
			 int rows)
{
	const float *restrict scale = f->scale, *restrict shift = f->shift;
	const float *restrict xscale = f->xscale, *restrict xshift = f->xshift;

#pragma omp simd
	for (int c = 0; c < WHOLE(ld); c++) {
		float s = 0, q = 0, g = 0;

#pragma GCC unroll 8
		for (int r = 0; r < rows; r++) {
			float x = raw[r * ld + c], z = scaled ? x * scale[c] + shift[c] : x;
			float v = d[r * ld + c] * act_slope(act, z);

			if (gated)
				g += d[r * ld + c] * act_value(act, z);
			if (act != ACT_NONE)
				d[r * ld + c] = v;
			s += v;
			if (normed)
				q += v * (x * xscale[c] + xshift[c]);
		}
		if (normed) {
			sum[c] += s;
			dots[c] += q;
		}
		if (gated)
			gates[c] += g;
	}
}

INLINE void finish_any(float *d, const float *raw, int64_t rows, int ld, const struct affine *f, enum act act, float *sum,
		       float *dots, float *gates)
{
#define FINISH(row, n, scaled, normed, gated) \
	finish_block(d + (row) * ld, raw + (row) * ld, ld, f, act, sum, dots, gates, scaled, normed, gated, n)
#define NORM_GATED(row, n) FINISH(row, n, true, true, true)
#define NORM(row, n) FINISH(row, n, true, true, false)
#define BIAS(row, n) FINISH(row, n, true, false, false)
#define PLAIN(row, n) FINISH(row, n, false, false, false)
	if (gates)
		BY_BLOCKS(rows, NORM_GATED);
	else if (f->xscale)
		BY_BLOCKS(rows, NORM);
	else if (f->scale)
		BY_BLOCKS(rows, BIAS);
	else
		BY_BLOCKS(rows, PLAIN);
}

void ISA(finish)(float *d, const float *raw, int64_t rows, int ld, const struct affine *f, enum act act, float *sum, float *dots,
		 float *gates)
{
#define ONE(a) finish_any(d, raw, rows, ld, f, a, sum, dots, gates)
	FOR_ACT(act, ONE)
#undef ONE
}
