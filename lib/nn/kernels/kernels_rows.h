/* kernels_rows.h - mean and deviation of a row, for the files of kernels that need them */
#ifndef NN_KERNELS_ROWS_H
#define NN_KERNELS_ROWS_H

#include <math.h>
#include "lib/nn/kernels/kernels_isa.h"

struct row_moments {
	float mean, istd;
};

INLINE struct row_moments row_moments(const float *x, int c, float eps)
{
	struct row_moments m;
	vector sum = splat(0), squares = sum;
	float rest = 0;
	int whole = c / VECTOR * VECTOR;

	for (int i = 0; i < whole; i += VECTOR)
		sum += load_f32(x + i);
	for (int i = whole; i < c; i++)
		rest += x[i];
	m.mean = (sum_of(sum) + rest) / c;
	rest = 0;
	for (int i = 0; i < whole; i += VECTOR) {
		vector v = load_f32(x + i) - m.mean;

		squares += v * v;
	}
	for (int i = whole; i < c; i++)
		rest += (x[i] - m.mean) * (x[i] - m.mean);
	m.istd = 1 / sqrtf((sum_of(squares) + rest) / c + eps);
	return m;
}

#endif
