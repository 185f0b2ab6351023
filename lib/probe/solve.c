#include "lib/probe/solve.h"
#include "lib/base/base.h"
#include "lib/tensor/gemm.h"

#include <math.h>

enum { BLOCK = 64 };

/* L of a block on the diagonal, row by row. */
static int factor_block(float *a, int n, int size)
{
	for (int i = 0; i < size; i++) {
		for (int j = 0; j <= i; j++) {
			double sum = a[(size_t)i * n + j];

			for (int k = 0; k < j; k++)
				sum -= (double)a[(size_t)i * n + k] * a[(size_t)j * n + k];
			if (i == j && !(sum > 0))
				return -1;
			a[(size_t)i * n + j] = (float)(i == j ? sqrt(sum) : sum / a[(size_t)j * n + j]);
		}
	}
	return 0;
}

/* One row below the block: x L^T = row, in place. */
static void solve_row(const float *l, float *row, int n, int size)
{
	for (int j = 0; j < size; j++) {
		double sum = row[j];

		for (int k = 0; k < j; k++)
			sum -= (double)row[k] * l[(size_t)j * n + k];
		row[j] = (float)(sum / l[(size_t)j * n + j]);
	}
}

int solve_factor(float *a, int n)
{
	for (int b = 0; b < n; b += BLOCK) {
		int size = MIN(BLOCK, n - b), below = b + size;

		if (factor_block(a + (size_t)b * n + b, n, size) < 0)
			return -1;
#pragma omp parallel for
		for (int i = below; i < n; i++)
			solve_row(a + (size_t)b * n + b, a + (size_t)i * n + b, n, size);
#pragma omp parallel for schedule(dynamic)
		for (int i = below; i < n; i += BLOCK) { /* the lower triangle of what is left, a row of blocks each */
			int rows = MIN(BLOCK, n - i);

			gemm(false, true, rows, i + rows - below, size, -1, a + (size_t)i * n + b, n, a + (size_t)below * n + b,
			     n, 1, a + (size_t)i * n + below, n);
		}
	}
	return 0;
}

/* Row of b over the diagonal of l, with what other rows contribute taken off before. */
static void divide(float *row, int m, float by)
{
	for (int c = 0; c < m; c++)
		row[c] /= by;
}

static void take_off(float *row, const float *other, int m, float times)
{
	for (int c = 0; c < m; c++)
		row[c] -= times * other[c];
}

/* Forward, then backward; blocks already solved are taken off by one product. */
void solve_with(const float *l, int n, float *b, int m)
{
	for (int i = 0; i < n; i += BLOCK) {
		int end = MIN(n, i + BLOCK);

		gemm(false, false, end - i, m, i, -1, l + (size_t)i * n, n, b, m, 1, b + (size_t)i * m, m);
		for (int r = i; r < end; r++) {
			for (int k = i; k < r; k++)
				take_off(b + (size_t)r * m, b + (size_t)k * m, m, l[(size_t)r * n + k]);
			divide(b + (size_t)r * m, m, l[(size_t)r * n + r]);
		}
	}
	for (int i = (n - 1) / BLOCK * BLOCK; i >= 0; i -= BLOCK) {
		int end = MIN(n, i + BLOCK);

		gemm(true, false, end - i, m, n - end, -1, l + (size_t)end * n + i, n, b + (size_t)end * m, m, 1,
		     b + (size_t)i * m, m);
		for (int r = end - 1; r >= i; r--) {
			for (int k = r + 1; k < end; k++)
				take_off(b + (size_t)r * m, b + (size_t)k * m, m, l[(size_t)k * n + r]);
			divide(b + (size_t)r * m, m, l[(size_t)r * n + r]);
		}
	}
}
