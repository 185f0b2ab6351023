/* kernels_rows.c - loops over whole rows: layer norm (Ba et al. 2016), softmax */
#include "lib/nn/kernels_isa.h"

#include <float.h>

/* --- layer norm --- */

/* Mean and 1/std of a row. */
INLINE void row_moments(const float *x, int c, float eps, float *mean, float *istd)
{
	float sum = 0, squares = 0, m;

#pragma omp simd reduction(+ : sum)
	for (int i = 0; i < c; i++)
		sum += x[i];
	m = sum / c;
#pragma omp simd reduction(+ : squares)
	for (int i = 0; i < c; i++)
		squares += (x[i] - m) * (x[i] - m);
	*mean = m;
	*istd = 1 / sqrtf(squares / c + eps);
}

void ISA(layernorm)(float *dst, const float *src, int64_t rows, int c, int ld, const float *gamma, const float *beta, float eps)
{
	for (int64_t r = 0; r < rows; r++, dst += ld, src += ld) {
		float mean, istd;

		row_moments(src, c, eps, &mean, &istd);
#pragma omp simd
		for (int i = 0; i < c; i++)
			dst[i] = (src[i] - mean) * istd * gamma[i] + beta[i];
	}
}

/* dx = istd * (g - mean(g) - xhat * mean(g * xhat)), g = gamma * dy */
void ISA(layernorm_back)(float *restrict dst, const float *restrict dy, const float *restrict x, int64_t rows, int c, int ld,
			 const float *restrict gamma, float eps, float *restrict d_gamma, float *restrict d_beta)
{
	for (int64_t r = 0; r < rows; r++, dst += ld, dy += ld, x += ld) {
		float mean, istd, sum = 0, dots = 0;

		row_moments(x, c, eps, &mean, &istd);
#pragma omp simd reduction(+ : sum, dots)
		for (int i = 0; i < c; i++) {
			float xhat = (x[i] - mean) * istd, g = gamma[i] * dy[i];

			d_gamma[i] += dy[i] * xhat;
			d_beta[i] += dy[i];
			sum += g;
			dots += g * xhat;
		}
		sum /= c;
		dots /= c;
#pragma omp simd
		for (int i = 0; i < c; i++)
			dst[i] = istd * (gamma[i] * dy[i] - sum - (x[i] - mean) * istd * dots);
	}
}

/* --- softmax: what lies behind a row's n elements is made harmless first, so that no loop has a remainder --- */

#define WHOLE(n) (((n) + LANES - 1) / LANES * LANES)

void ISA(softmax)(float *x, int rows, int n, int ld, float scale)
{
	for (int r = 0; r < rows; r++, x += ld) {
		float most = -FLT_MAX, sum = 0;

		for (int i = n; i < WHOLE(n); i++)
			x[i] = -FLT_MAX;
#pragma omp simd reduction(max : most)
		for (int i = 0; i < WHOLE(n); i++)
			most = x[i] > most ? x[i] : most;
#pragma omp simd reduction(+ : sum)
		for (int i = 0; i < WHOLE(n); i++) {
			x[i] = exponential((x[i] - most) * scale);
			sum += x[i];
		}
		sum = 1 / sum;
#pragma omp simd
		for (int i = 0; i < WHOLE(n); i++)
			x[i] *= sum;
	}
}

/* dx = scale * p * (d - sum(p * d)) */
void ISA(softmax_back)(float *restrict d, const float *restrict p, int rows, int n, int ld, float scale)
{
	for (int r = 0; r < rows; r++, d += ld, p += ld) {
		float sum = 0;

		for (int i = n; i < WHOLE(n); i++)
			d[i] = 0;
#pragma omp simd reduction(+ : sum)
		for (int i = 0; i < WHOLE(n); i++)
			sum += p[i] * d[i];
#pragma omp simd
		for (int i = 0; i < WHOLE(n); i++)
			d[i] = scale * p[i] * (d[i] - sum);
	}
}
