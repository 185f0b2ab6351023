/* kernels_flat.c - loops over flat vectors: parameters, gradients, the state of optimisers */
#include "lib/nn/kernels/kernels_isa.h"

#include <math.h>

void ISA(add)(float *restrict out, const float *restrict in, int64_t n)
{
#pragma omp simd
	for (int64_t i = 0; i < n; i++)
		out[i] += in[i];
}

double ISA(squares)(int64_t n, double a, const float *x, double b, const float *y)
{
	double sum = 0;

#pragma omp simd reduction(+ : sum)
	for (int64_t i = 0; i < n; i++) {
		double v = a * x[i] + b * y[i];

		sum += v * v;
	}
	return sum;
}

INLINE void sgd_loop(const struct sgd *s, bool nesterov, int64_t n, float *restrict w, const float *restrict g, float *restrict v)
{
	const float lr = s->lr, scale = s->scale, wd = s->wd, trust = s->trust, momentum = s->momentum;

#pragma omp simd
	for (int64_t i = 0; i < n; i++) {
		float d = trust * (scale * g[i] + wd * w[i]), m = momentum * v[i] + d;

		v[i] = m;
		w[i] -= lr * (nesterov ? d + momentum * m : m);
	}
}

void ISA(sgd)(const struct sgd *s, int64_t n, float *w, const float *g, float *v)
{
	if (s->nesterov)
		sgd_loop(s, true, n, w, g, v);
	else
		sgd_loop(s, false, n, w, g, v);
}

void ISA(adamw)(const struct adamw *s, int64_t n, float *restrict w, const float *restrict g, float *restrict m,
		float *restrict v)
{
	const struct adamw a = *s;

#pragma omp simd
	for (int64_t i = 0; i < n; i++) {
		float d = a.scale * g[i], mean = a.beta1 * m[i] + a.rest1 * d, square = a.beta2 * v[i] + a.rest2 * (d * d);

		m[i] = mean;
		v[i] = square;
		w[i] -= a.wd * w[i] + a.rate * mean / (sqrtf(square) * a.root + a.eps);
	}
}

void ISA(ema)(int64_t n, float m, const float *restrict query, float *restrict key)
{
#pragma omp simd
	for (int64_t i = 0; i < n; i++)
		key[i] = m * key[i] + (1 - m) * query[i];
}
