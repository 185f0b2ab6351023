/* kernels_flat.c - loops over flat vectors: parameters, gradients, the state of optimisers */
#include "lib/nn/kernels_isa.h"

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
