/* kernels_layernorm.c - layer norm (Ba et al. 2016, eq. 4) */
#include "lib/nn/kernels/kernels_rows.h"

INLINE void layernorm_row(stored *dst, const float *src, int c, int ld, const float *gamma, const float *beta, float eps)
{
	struct row_moments m = row_moments(src, c, eps);
	float g[VECTOR] = { 0 }, b[VECTOR] = { 0 };
	int whole = c / VECTOR * VECTOR;

	memcpy(g, gamma + whole, (c - whole) * sizeof(float));
	memcpy(b, beta + whole, (c - whole) * sizeof(float));
	for (int i = 0; i < ld; i += VECTOR) {
		bool last = i >= whole;

		SAVE(dst + i, (load_f32(src + i) - m.mean) * m.istd * load_anywhere(last ? g : gamma + i) +
				      load_anywhere(last ? b : beta + i));
	}
}

void TYPED(layernorm)(void *dst, const float *src, int64_t rows, int c, int ld, const float *gamma, const float *beta, float eps)
{
	for (int64_t r = 0; r < rows; r++)
		layernorm_row((stored *)dst + r * ld, src + r * ld, c, ld, gamma, beta, eps);
}
