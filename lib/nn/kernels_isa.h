/*
 * kernels_isa.h - what every file of kernels shares: activations written for vector loops
 *
 * The Makefile compiles kernels_*.c for each instruction set (lib/base/isa.h). Loops are plain; the compiler makes vectors of them:
 * everything is inlined with constant variants, so that no loop holds a branch.
 */
#ifndef NN_KERNELS_ISA_H
#define NN_KERNELS_ISA_H

#include "lib/base/isa.h"
#include "lib/nn/kernels.h"

#include <math.h>

#define ALIGNED(p) __builtin_assume_aligned(p, 64)

/* A vector as wide as the set's registers: accumulators that stay in registers. */
#if defined(__AVX512F__)
#define VECTOR 16
#elif defined(__AVX__)
#define VECTOR 8
#else
#define VECTOR 4
#endif
typedef float vector __attribute__((vector_size(VECTOR * 4), may_alias));

/* Written so that a NaN comes through. */
INLINE float clamp(float x, float lo, float hi)
{
	x = lo > x ? lo : x;
	return hi < x ? hi : x;
}

/*
 * e^x to about an ulp where the result is normal, x in [-87.3, 88.7]; beyond, the value at the end. x = n ln 2 + r: 2^n goes into
 * the exponent's bits, e^r is a polynomial of minimal relative error (3e-9) on |r| <= ln 2 / 2. ln 2 in two parts, the first
 * with zeros below, so that n times it is exact; adding 1.5 * 2^23 rounds to an integer that stands in the low bits.
 */
INLINE float exponential(float x)
{
	const float magic = 0x1.8p23f;
	float t, n, r, q;
	int32_t bits, shift;

	x = clamp(x, -87.3f, 88.7f);
	t = x * 0x1.715476p0f + magic;
	n = t - magic;
	r = x - n * 0x1.62ep-1f - n * 0x1.0bfbe8p-15f;
	q = 0.001381454f;
	q = q * r + 0.008368745f;
	q = q * r + 0.04166839f;
	q = q * r + 0.16666521f;
	q = q * r + 0.49999994f;
	q = r * r * q + r + 1;
	memcpy(&bits, &q, 4);
	memcpy(&shift, &t, 4);
	bits += (int32_t)((uint32_t)shift << 23);
	memcpy(&q, &bits, 4);
	return q;
}

/*
 * The normal distribution at z: its density times sqrt(2 pi) into *e, its integral up to z returned. The tail is
 * e^(-z^2/2) * erfcx(|z|/sqrt 2) / 2; the second factor is a polynomial in u = 1/(1 + 0.29|z|) of minimal relative error (4e-8),
 * so that small values keep their digits: 1 + erf() would not.
 */
INLINE float normal(float z, float *e)
{
	float u = 1 / (1 + 0.29f * fabsf(z)), q = 0.037713017f;

	*e = exponential(-0.5f * z * z);
	q = q * u - 0.18483847f;
	q = q * u + 0.28919065f;
	q = q * u - 0.13117523f;
	q = q * u + 0.17123744f;
	q = q * u + 0.083344683f;
	q = q * u + 0.119047053f;
	q = q * u + 0.115480848f;
	q *= u * *e;
	return z < 0 ? q : 1 - q;
}

INLINE float act_value(enum act a, float z)
{
	float e;

	switch (a) {
	case ACT_RELU: return 0 > z ? 0 : z;
	case ACT_RELU6: return clamp(z, 0, 6);
	case ACT_HARDSWISH: return z * (clamp(z + 3, 0, 6) * (1.0f / 6));
	case ACT_HARDSIGMOID: return clamp(z + 3, 0, 6) * (1.0f / 6);
	case ACT_SILU: return z / (1 + exponential(-z));
	case ACT_SIGMOID: return 1 / (1 + exponential(-z));
	case ACT_GELU: return z * normal(z, &e);
	default: return z;
	}
}

/* Derivatives at the corners as PyTorch has them; 1 - s of a sigmoid s is e*s, which does not cancel. */
INLINE float act_slope(enum act a, float z)
{
	float e, s;

	switch (a) {
	case ACT_RELU: return z > 0 ? 1 : 0;
	case ACT_RELU6: return z > 0 && z < 6 ? 1 : 0;
	case ACT_HARDSWISH: return z < -3 ? 0 : z > 3 ? 1 : z * (1.0f / 3) + 0.5f;
	case ACT_HARDSIGMOID: return z > -3 && z < 3 ? 1.0f / 6 : 0;
	case ACT_SILU:
	case ACT_SIGMOID:
		e = exponential(-z);
		s = 1 / (1 + e);
		return a == ACT_SILU ? s * (1 + z * (e * s)) : s * (e * s);
	case ACT_GELU:
		s = normal(z, &e);
		return s + z * e * 0.39894228f;
	default: return 1;
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

/* Defined in the files below for each set; kernels_table.c puts them together. */
void ISA(read)(float *, const float *, int64_t, int, const struct affine *, const float *, enum act, bool);
void ISA(read_view)(float *, const uint8_t *, int64_t, const float[3], const float[3]);
void ISA(moments)(const float *, int64_t, int, float *, float *);
void ISA(grad)(float *, const float *, const float *, int64_t, int, const float *);
void ISA(grad_pooled)(float *, const float *, const float *, int64_t, int, const float *, const struct affine *, enum act,
		      const float *, const float *);
void ISA(finish)(float *, const float *, int64_t, int, const struct affine *, enum act, float *, float *, float *);
void ISA(pool)(const float *, int64_t, int, const struct affine *, enum act, float *, float *, float *);
void ISA(max)(float *, const float *const *, int, int);
void ISA(max_back)(const float *, const float *const *, float *const *, int, int);
void ISA(depthwise)(const struct dw_rows *);
void ISA(depthwise_weight)(const struct dw_rows *, float *);
void ISA(layernorm)(float *, const float *, int64_t, int, int, const float *, const float *, float);
void ISA(layernorm_back)(float *, const float *, const float *, int64_t, int, int, const float *, float, float *, float *);
void ISA(softmax)(float *, int, int, int, float);
void ISA(softmax_back)(float *, const float *, int, int, int, float);
void ISA(add)(float *, const float *, int64_t);
double ISA(squares)(int64_t, double, const float *, double, const float *);
void ISA(sgd)(const struct sgd *, int64_t, float *, const float *, float *);
void ISA(adamw)(const struct adamw *, int64_t, float *, const float *, float *, float *);
void ISA(ema)(int64_t, float, const float *, float *);

#endif
