/*
 * kernels_isa.h - what every file of kernels shares: activations written for vector loops
 *
 * The Makefile compiles kernels_*.c for each instruction set (lib/base/isa.h). Loops over activations are
 * written in vectors as wide as the set's registers, others are plain; what an activation is, is constant in each copy of a loop.
 */
#ifndef NN_KERNELS_ISA_H
#define NN_KERNELS_ISA_H

#include "lib/base/isa.h"
#include "lib/nn/kernels/kernels.h"

#ifdef __AVX__
#include <immintrin.h>
#endif

/* As wide as the set's registers; loops step through rows by it. */
#if defined(__AVX512F__)
#define VECTOR 16
#elif defined(__AVX__)
#define VECTOR 8
#else
#define VECTOR 4
#endif
typedef float vector __attribute__((vector_size(VECTOR * 4)));
typedef int32_t ivector __attribute__((vector_size(VECTOR * 4)));
typedef uint32_t uvector __attribute__((vector_size(VECTOR * 4)));
typedef float vector_there __attribute__((vector_size(VECTOR * 4), may_alias));
typedef float vector_anywhere __attribute__((vector_size(VECTOR * 4), may_alias, aligned(4)));
typedef uint16_t halves __attribute__((vector_size(VECTOR * 2), may_alias, aligned(2)));

INLINE vector splat(float x)
{
	return x - (vector){ 0 };
}

/* --- choices: x > y ? a : b in every lane; what is not a number compares as false --- */

INLINE vector above(vector x, vector y, vector a, vector b)
{
#if defined(__AVX512F__)
	return (vector)_mm512_mask_blend_ps(_mm512_cmp_ps_mask((__m512)x, (__m512)y, _CMP_GT_OQ), (__m512)b, (__m512)a);
#elif defined(__AVX__)
	return (vector)_mm256_blendv_ps((__m256)b, (__m256)a, (__m256)(x > y));
#else
	ivector m = x > y;

	return (vector)((m & (ivector)a) | (~m & (ivector)b));
#endif
}

/* x > y ? x : y and x < y ? x : y: what is not a number comes through in y. */
INLINE vector larger(vector x, vector y)
{
#if defined(__AVX512F__)
	return (vector)_mm512_max_ps((__m512)x, (__m512)y);
#elif defined(__AVX__)
	return (vector)_mm256_max_ps((__m256)x, (__m256)y);
#else
	return above(x, y, x, y);
#endif
}

INLINE vector smaller(vector x, vector y)
{
#if defined(__AVX512F__)
	return (vector)_mm512_min_ps((__m512)x, (__m512)y);
#elif defined(__AVX__)
	return (vector)_mm256_min_ps((__m256)x, (__m256)y);
#else
	return above(y, x, x, y);
#endif
}

INLINE vector clamp(vector x, float lo, float hi)
{
	return smaller(splat(hi), larger(splat(lo), x));
}

INLINE float sum_of(vector v)
{
#if defined(__AVX512F__)
	return _mm512_reduce_add_ps((__m512)v);
#else
	float s = 0;

	for (int i = 0; i < VECTOR; i++)
		s += v[i];
	return s;
#endif
}

INLINE float most_of(vector v)
{
#if defined(__AVX512F__)
	return _mm512_reduce_max_ps((__m512)v);
#else
	float m = v[0];

	for (int i = 1; i < VECTOR; i++)
		m = v[i] > m ? v[i] : m;
	return m;
#endif
}

/* --- elements --- */

INLINE vector load_f32(const float *p)
{
	return *(const vector_there *)p;
}

INLINE vector load_anywhere(const float *p)
{
	return *(const vector_anywhere *)p;
}

INLINE void save_f32(float *p, vector v)
{
	*(vector_there *)p = v;
}

/* The compiler would widen in halves of a register. */
INLINE vector widen(halves h)
{
#if defined(__AVX512F__)
	return (vector)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)h), 16);
#else
	return (vector)(__builtin_convertvector(h, uvector) << 16);
#endif
}

/* Rounds to nearest even; what is not a number stays so. AVX512-BF16's instruction makes denormals zeros of their sign, the
 * others keep them: 1.2e-38 is far below what activations and gradients hold. */
INLINE halves narrow(vector v)
{
#if defined(__AVX512BF16__)
	return (halves)_mm512_cvtneps_pbh((__m512)v);
#else
	uvector u = (uvector)v, nan = (uvector)(v != v);

	u = (u | (nan & 0x400000)) + (~nan & (0x7fff + ((u >> 16) & 1)));
	u >>= 16;
#if defined(__AVX512F__)
	return (halves)_mm512_cvtepi32_epi16((__m512i)u);
#elif defined(__AVX2__)
	return (halves)_mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_packus_epi32((__m256i)u, (__m256i)u), 0x08));
#else
	return __builtin_convertvector(u, halves);
#endif
#endif
}

INLINE vector load_bf16(const uint16_t *p)
{
	return widen(*(const halves *)p);
}

INLINE void save_bf16(uint16_t *p, vector v)
{
	*(halves *)p = narrow(v);
}

/* Saves what stands in whole vectors and returns it as it was saved; past: past the caches, where nobody reads it soon. */
INLINE vector keep_f32(float *p, vector v, bool past)
{
	if (!past)
		save_f32(p, v);
#if defined(__AVX512F__)
	else
		_mm512_stream_ps(p, (__m512)v);
#elif defined(__AVX__)
	else
		_mm256_stream_ps(p, (__m256)v);
#else
	else
		save_f32(p, v);
#endif
	return v;
}

INLINE vector keep_bf16(uint16_t *p, vector v, bool past)
{
	halves h = narrow(v);

	if (!past)
		*(halves *)p = h;
#if defined(__AVX512F__)
	else
		_mm256_stream_si256((__m256i *)p, (__m256i)h);
#elif defined(__AVX__)
	else
		_mm_stream_si128((__m128i *)p, (__m128i)h);
#else
	else
		*(halves *)p = h;
#endif
	return widen(h);
}

/* Files whose names depend on the type of element are compiled once for each. */
#ifndef KERNELS_ELEMENT
#define KERNELS_ELEMENT f32
#endif
#define TYPED(name) ISA_JOIN(name, ISA_JOIN(KERNELS_ELEMENT, KERNELS_ISA))
#define LOAD ISA_JOIN(load, KERNELS_ELEMENT)
#define SAVE ISA_JOIN(save, KERNELS_ELEMENT)
#define KEEP ISA_JOIN(keep, KERNELS_ELEMENT)
typedef float element_f32;
typedef uint16_t element_bf16;
typedef ISA_JOIN(element, KERNELS_ELEMENT) stored;
/* Whether values are rounded to bf16 next, so that errors below 2^-13 do not count: a constant. */
enum { rounded_f32 = 0, rounded_bf16 = 1 };
#define ROUNDED ISA_JOIN(rounded, KERNELS_ELEMENT)

/* --- activations --- */

/*
 * e^x to about an ulp where the result is normal, x in [-87.3, 88.7]; beyond, the value at the end. x = n ln 2 + r: 2^n goes into
 * the exponent's bits, e^r is a polynomial of minimal relative error (3e-9) on |r| <= ln 2 / 2. ln 2 in two parts, the first
 * with zeros below, so that n times it is exact; adding 1.5 * 2^23 rounds to an integer that stands in the low bits.
 */
INLINE vector exponential(vector x)
{
	const float magic = 0x1.8p23f;
	vector t, n, r, q;

	x = clamp(x, -87.3f, 88.7f);
	t = x * 0x1.715476p0f + magic;
	n = t - magic;
	r = x - n * 0x1.62ep-1f - n * 0x1.0bfbe8p-15f;
	q = splat(0.001381454f);
	q = q * r + 0.008368745f;
	q = q * r + 0.04166839f;
	q = q * r + 0.16666521f;
	q = q * r + 0.49999994f;
	q = r * r * q + r + 1.0f;
	return (vector)((uvector)q + ((uvector)t << 23));
}

/* 2^t to about an ulp, t <= 126; below -126 the value there. t = n + r: e^(r ln 2) is a polynomial of minimal relative error
 * (7.5e-8). */
INLINE vector power(vector t)
{
	vector n, r, q = splat(0.00132764718f);

	t = larger(splat(-126), t);
#if defined(__AVX512F__)
	n = (vector)_mm512_roundscale_ps((__m512)t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
	n = (t + 0x1.8p23f) - 0x1.8p23f;
#endif
	r = t - n;
	q = q * r + 0.00967554133f;
	q = q * r + 0.0555071327f;
	q = q * r + 0.240221197f;
	q = q * r + 0.693146967f;
	q = q * r + 1.00000007f;
#if defined(__AVX512F__)
	return (vector)_mm512_scalef_ps((__m512)q, (__m512)n);
#else
	return (vector)((uvector)q + ((uvector)(t + 0x1.8p23f) << 23));
#endif
}

/* 1/d to about an ulp, d finite and not zero: a division takes as long as all the rest of an activation. */
INLINE vector reciprocal(vector d)
{
#if defined(__AVX512F__)
	vector r = (vector)_mm512_rcp14_ps((__m512)d);

	return r + r * (1.0f - d * r);
#else
	return 1.0f / d;
#endif
}

/*
 * The normal distribution at z: its density times sqrt(2 pi) into *e, its integral up to z returned. The tail is e^(-z^2/2) *
 * erfcx(|z|/sqrt 2) / 2; the second factor is a polynomial in u = 1/(1 + 0.29|z|) of minimal relative error (4e-8; 1e-4 where
 * the result is rounded), so that small values keep their digits: 1 + erf() would not.
 */
INLINE vector normal(vector z, vector *e)
{
	vector u = reciprocal(1.0f + smaller(splat(1e30f), 0.29f * larger(z, -z))), q;

	if (ROUNDED) {
		*e = power(z * z * -0.72134752f);
		q = u * 0.26391562f - 0.042259485f;
		q = q * u + 0.17204023f;
		q = q * u + 0.10568773f;
		q = q * u + 0.00066784774f;
	} else {
		*e = exponential(-0.5f * z * z);
		q = u * 0.037713017f - 0.18483847f;
		q = q * u + 0.28919065f;
		q = q * u - 0.13117523f;
		q = q * u + 0.17123744f;
		q = q * u + 0.083344683f;
		q = q * u + 0.119047053f;
		q = q * u + 0.115480848f;
		q *= u;
	}
	q *= *e;
	return above(splat(0), z, q, 1.0f - q);
}

/* The logistic function at z, and e^-z. */
INLINE vector logistic(vector z, vector *e)
{
	*e = ROUNDED ? power(smaller(splat(126), -0x1.715476p0f * z)) : exponential(-z);
	return reciprocal(1.0f + *e);
}

INLINE vector act_value(enum act a, vector z)
{
	vector e;

	switch (a) {
	case ACT_RELU: return larger(splat(0), z);
	case ACT_RELU6: return clamp(z, 0, 6);
	case ACT_HARDSWISH: return z * clamp(z * (1.0f / 6) + 0.5f, 0, 1);
	case ACT_HARDSIGMOID: return clamp(z + 3.0f, 0, 6) * (1.0f / 6);
	case ACT_SILU: return z * logistic(z, &e);
	case ACT_SIGMOID: return logistic(z, &e);
	case ACT_GELU: return z * normal(z, &e);
	default: return z;
	}
}

/* Derivatives at the corners as PyTorch has them; 1 - s of a sigmoid s is e*s, which does not cancel. */
INLINE vector act_slope(enum act a, vector z)
{
	const vector zero = splat(0), one = splat(1);
	vector e, s;

	switch (a) {
	case ACT_RELU: return above(z, zero, one, zero);
	case ACT_RELU6: return above(z, zero, above(splat(6), z, one, zero), zero);
	case ACT_HARDSWISH: return above(splat(-3), z, zero, above(z, splat(3), one, z * (1.0f / 3) + 0.5f));
	case ACT_HARDSIGMOID: return above(z, splat(-3), above(splat(3), z, splat(1.0f / 6), zero), zero);
	case ACT_SILU:
	case ACT_SIGMOID:
		s = logistic(z, &e);
		return a == ACT_SILU ? s * (1.0f + z * (e * s)) : s * (e * s);
	case ACT_GELU:
		s = normal(z, &e);
		return s + z * e * 0.39894228f;
	default: return one;
	}
}

/* One copy of CALL(constant) for every activation. */
#define FOR_ACT(act, CALL) \
	switch (act) { \
	case ACT_RELU: CALL(ACT_RELU); break; \
	case ACT_RELU6: CALL(ACT_RELU6); break; \
	case ACT_HARDSWISH: CALL(ACT_HARDSWISH); break; \
	case ACT_HARDSIGMOID: CALL(ACT_HARDSIGMOID); break; \
	case ACT_SILU: CALL(ACT_SILU); break; \
	case ACT_SIGMOID: CALL(ACT_SIGMOID); break; \
	case ACT_GELU: CALL(ACT_GELU); break; \
	default: CALL(ACT_NONE); break; \
	}

/* Defined in the files below for each set, and for each type of element; kernels_table.c puts them together. */
#define TYPED_PROTOTYPE(type, name, arguments) type TYPED(name)arguments;
#define FLAT_PROTOTYPE(type, name, arguments) type ISA(name)arguments;
KERNELS(TYPED_PROTOTYPE, FLAT_PROTOTYPE)

#endif
