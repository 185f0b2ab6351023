/* kernels_point.c - loops that touch every element once: read, gradient through batch norm, column sums, optimiser */
#include "lib/nn/kernels_isa.h"

/* --- reading forward --- */

INLINE void read_rows(float *restrict dst, const float *restrict src, int64_t rows, int ld, const struct affine *f,
		      const float *restrict gate, enum act act, bool scaled, bool gated, bool add)
{
	const float *restrict scale = f->scale, *restrict shift = f->shift;

	for (int64_t r = 0; r < rows; r++, dst += ld, src += ld) {
#pragma omp simd
		for (int c = 0; c < ld; c++) {
			float v = act_value(act, scaled ? src[c] * scale[c] + shift[c] : src[c]);

			if (gated)
				v *= gate[c];
			dst[c] = add ? dst[c] + v : v;
		}
	}
}

INLINE void read_any(float *dst, const float *src, int64_t rows, int ld, const struct affine *f, const float *gate, enum act act, bool add)
{
	if (add)
		read_rows(dst, src, rows, ld, f, NULL, act, f->scale, false, true);
	else if (gate)
		read_rows(dst, src, rows, ld, f, gate, act, f->scale, true, false);
	else if (f->scale)
		read_rows(dst, src, rows, ld, f, NULL, act, true, false, false);
	else
		read_rows(dst, src, rows, ld, f, NULL, act, false, false, false);
}

void ISA(read)(float *dst, const float *src, int64_t rows, int ld, const struct affine *f, const float *gate, enum act act, bool add)
{
#define CALL(a) read_any(dst, src, rows, ld, f, gate, a, add)
	FOR_ACT(act, CALL)
#undef CALL
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

void ISA(moments)(const float *x, int64_t rows, int ld, float *sum, float *squares)
{
	for (int c = 0; c < ld; c += VECTOR) {
		vector origin = *(const vector *)(x + c), s0 = { 0 }, s1 = { 0 }, q0 = { 0 }, q1 = { 0 };
		const float *p = x + c;
		int64_t r = 0;

		for (; r + 2 <= rows; r += 2, p += 2 * ld) {
			vector a = *(const vector *)p - origin, b = *(const vector *)(p + ld) - origin;

			s0 += a, q0 += a * a;
			s1 += b, q1 += b * b;
		}
		if (r < rows) {
			vector a = *(const vector *)p - origin;

			s0 += a, q0 += a * a;
		}
		*(vector *)(sum + c) = s0 + s1;
		*(vector *)(squares + c) = q0 + q1;
	}
}

INLINE void pool_rows(const float *restrict raw, int64_t rows, int ld, const struct affine *f, enum act act, float *restrict sum,
		      float *restrict slopes, float *restrict dots, bool scaled, bool sloped)
{
	const float *restrict scale = f->scale, *restrict shift = f->shift, *restrict xscale = f->xscale, *restrict xshift = f->xshift;

	for (int64_t r = 0; r < rows; r++, raw += ld) {
#pragma omp simd
		for (int c = 0; c < ld; c++) {
			float z = scaled ? raw[c] * scale[c] + shift[c] : raw[c];

			sum[c] += act_value(act, z);
			if (sloped) {
				slopes[c] += act_slope(act, z);
				dots[c] += act_slope(act, z) * (raw[c] * xscale[c] + xshift[c]);
			}
		}
	}
}

void ISA(pool)(const float *raw, int64_t rows, int ld, const struct affine *f, enum act act, float *sum, float *slopes, float *dots)
{
#define CALL(a) do { \
	if (slopes) \
		pool_rows(raw, rows, ld, f, a, sum, slopes, dots, true, true); \
	else if (f->scale) \
		pool_rows(raw, rows, ld, f, a, sum, NULL, NULL, true, false); \
	else \
		pool_rows(raw, rows, ld, f, a, sum, NULL, NULL, false, false); \
} while (0)
	FOR_ACT(act, CALL)
#undef CALL
}

/* --- reading backward --- */

void ISA(grad)(float *restrict dst, const float *restrict d, const float *restrict raw, int64_t rows, int ld, const float *restrict c)
{
	for (int64_t r = 0; r < rows; r++, dst += ld, d += ld, raw += ld) {
#pragma omp simd
		for (int i = 0; i < ld; i++)
			dst[i] = c[i] * d[i] + (c[ld + i] * raw[i] + c[2 * ld + i]);
	}
}

INLINE void grad_pooled_rows(float *restrict dst, const float *restrict d, const float *restrict raw, int64_t rows, int ld,
			     const float *restrict c, const struct affine *f, enum act act, const float *restrict gate,
			     const float *restrict pooled, bool stored)
{
	const float *restrict scale = f->scale, *restrict shift = f->shift;

	for (int64_t r = 0; r < rows; r++, dst += ld, raw += ld) {
#pragma omp simd
		for (int i = 0; i < ld; i++) {
			float dz = pooled[i] * act_slope(act, raw[i] * scale[i] + shift[i]);

			if (stored)
				dz += gate[i] * d[i];
			dst[i] = c[i] * dz + (c[ld + i] * raw[i] + c[2 * ld + i]);
		}
		if (stored)
			d += ld;
	}
}

void ISA(grad_pooled)(float *dst, const float *d, const float *raw, int64_t rows, int ld, const float *c, const struct affine *f,
		      enum act act, const float *gate, const float *pooled)
{
#define CALL(a) do { \
	if (d) \
		grad_pooled_rows(dst, d, raw, rows, ld, c, f, a, gate, pooled, true); \
	else \
		grad_pooled_rows(dst, NULL, raw, rows, ld, c, f, a, NULL, pooled, false); \
} while (0)
	FOR_ACT(act, CALL)
#undef CALL
}

/* --- writing backward --- */

INLINE void finish_rows(float *restrict d, const float *restrict raw, int64_t rows, int ld, const struct affine *f, enum act act,
			float *restrict sum, float *restrict dots, bool scaled, bool normed)
{
	const float *restrict scale = f->scale, *restrict shift = f->shift, *restrict xscale = f->xscale, *restrict xshift = f->xshift;

	for (int64_t r = 0; r < rows; r++, d += ld, raw += ld) {
#pragma omp simd
		for (int c = 0; c < ld; c++) {
			float v = d[c] * act_slope(act, scaled ? raw[c] * scale[c] + shift[c] : raw[c]);

			d[c] = v;
			if (scaled)
				sum[c] += v;
			if (normed)
				dots[c] += v * (raw[c] * xscale[c] + xshift[c]);
		}
	}
}

void ISA(finish)(float *d, const float *raw, int64_t rows, int ld, const struct affine *f, enum act act, float *sum, float *dots)
{
#define CALL(a) do { \
	if (f->xscale) \
		finish_rows(d, raw, rows, ld, f, a, sum, dots, true, true); \
	else if (f->scale) \
		finish_rows(d, raw, rows, ld, f, a, sum, NULL, true, false); \
	else \
		finish_rows(d, raw, rows, ld, f, a, NULL, NULL, false, false); \
} while (0)
	FOR_ACT(act, CALL)
#undef CALL
}

INLINE void finish_gated_rows(float *restrict d, const float *restrict raw, int64_t rows, int ld, const struct affine *f, enum act act,
			      float *restrict sum, float *restrict dots, float *restrict gates)
{
	const float *restrict scale = f->scale, *restrict shift = f->shift, *restrict xscale = f->xscale, *restrict xshift = f->xshift;

	memset(sum, 0, ld * sizeof(float));
	memset(dots, 0, ld * sizeof(float));
	memset(gates, 0, ld * sizeof(float));
	for (int64_t r = 0; r < rows; r++, d += ld, raw += ld) {
#pragma omp simd
		for (int c = 0; c < ld; c++) {
			float z = raw[c] * scale[c] + shift[c], v = d[c] * act_slope(act, z);

			gates[c] += d[c] * act_value(act, z);
			d[c] = v;
			sum[c] += v;
			dots[c] += v * (raw[c] * xscale[c] + xshift[c]);
		}
	}
}

void ISA(finish_gated)(float *d, const float *raw, int64_t rows, int ld, const struct affine *f, enum act act, float *sum, float *dots,
		       float *gates)
{
#define CALL(a) finish_gated_rows(d, raw, rows, ld, f, a, sum, dots, gates)
	FOR_ACT(act, CALL)
#undef CALL
}

/* --- flat vectors --- */

void ISA(add)(float *restrict out, const float *restrict in, int64_t n)
{
#pragma omp simd
	for (int64_t i = 0; i < n; i++)
		out[i] += in[i];
}

INLINE void sgd_loop(int64_t n, float lr, float momentum, float wd, bool nesterov, bool first, float *restrict w,
		     const float *restrict g, float *restrict v)
{
#pragma omp simd
	for (int64_t i = 0; i < n; i++) {
		float d = g[i] + wd * w[i], m = first ? d : momentum * v[i] + d;

		v[i] = m;
		w[i] -= lr * (nesterov ? d + momentum * m : m);
	}
}

void ISA(sgd)(int64_t n, float lr, float momentum, float wd, bool nesterov, bool first, float *w, const float *g, float *v)
{
	if (first)
		sgd_loop(n, lr, momentum, wd, nesterov, true, w, g, v);
	else if (nesterov)
		sgd_loop(n, lr, momentum, wd, true, false, w, g, v);
	else
		sgd_loop(n, lr, momentum, wd, false, false, w, g, v);
}

void ISA(ema)(int64_t n, float m, const float *restrict query, float *restrict key)
{
#pragma omp simd
	for (int64_t i = 0; i < n; i++)
		key[i] = m * key[i] + (1 - m) * query[i];
}
