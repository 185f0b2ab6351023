/* kernels_rows.c - loops over whole rows: layer norm backward (Ba et al. 2016), softmax */
#include "lib/nn/kernels/kernels_rows.h"

#include <float.h>

/* --- layer norm --- */

/* dx = istd * (g - mean(g) - xhat * mean(g * xhat)), g = gamma * dy */
void ISA(layernorm_back)(float *restrict dst, const float *restrict dy, const float *restrict x, int64_t rows, int c, int ld,
			 const float *restrict gamma, float eps, float *restrict d_gamma, float *restrict d_beta)
{
	for (int64_t r = 0; r < rows; r++, dst += ld, dy += ld, x += ld) {
		struct row_moments m = row_moments(x, c, eps);
		float mean = m.mean, istd = m.istd, sum = 0, dots = 0;

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
#define EACH(i, n) for (int i = 0; i < WHOLE(n); i += VECTOR)

/* e^((x - most) * scale), most being the largest, and their sum returned, to which what lies behind a row adds nothing. */
INLINE float exponentials(float *x, int n, float scale)
{
	vector most = splat(-FLT_MAX), sum = splat(0), origin, k = splat(scale * 0x1.715476p0f);

	for (int i = n; i < WHOLE(n); i++)
		x[i] = -FLT_MAX;
	EACH(i, n)
		most = larger(load_f32(x + i), most);
	origin = splat(most_of(most)) * k;
	EACH(i, n) {
		vector e = power(load_f32(x + i) * k - origin);

		sum += e;
		save_f32(x + i, e);
	}
	for (int i = n; i < WHOLE(n); i++)
		x[i] = 0;
	return sum_of(sum);
}

void ISA(softmax)(float *x, int rows, int n, int ld, float scale, uint16_t *narrow)
{
	for (int r = 0; r < rows; r++, x += ld) {
		vector share = splat(1 / exponentials(x, n, scale));

		EACH(i, n) {
			vector v = load_f32(x + i) * share;

			save_f32(x + i, v);
			if (narrow)
				save_bf16(narrow + (int64_t)r * ld + i, v);
		}
	}
}

/* dx = scale * p * (d - sum(p * d)) */
void ISA(softmax_back)(float *restrict d, const float *restrict p, int rows, int n, int ld, float scale,
		       uint16_t *restrict narrow)
{
	for (int r = 0; r < rows; r++, d += ld, p += ld) {
		vector sum = splat(0), total;

		for (int i = n; i < WHOLE(n); i++)
			d[i] = 0;
		EACH(i, n)
			sum += load_f32(p + i) * load_f32(d + i);
		total = splat(sum_of(sum));
		EACH(i, n) {
			vector v = scale * load_f32(p + i) * (load_f32(d + i) - total);

			if (narrow)
				save_bf16(narrow + (int64_t)r * ld + i, v);
			else
				save_f32(d + i, v);
		}
	}
}
