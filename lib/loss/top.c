#include "lib/loss/top.h"
#include "lib/tensor/gemm.h"

#include <float.h>
#include <math.h>

enum { ROWS = 32, BLOCK = 1024 };

struct near {
	double cosine;
	int32_t at;
};

static double dot(const float *a, const float *b, int dim)
{
	double sum = 0;

	for (int d = 0; d < dim; d++)
		sum += (double)a[d] * b[d];
	return sum;
}

/* A bank is walked upwards, so that whoever is as near as one in the list comes behind it. */
static void insert(struct near *list, int count, struct near x)
{
	int i = count - 1;

	if (x.cosine <= list[i].cosine)
		return;
	for (; i > 0 && x.cosine > list[i - 1].cosine; i--)
		list[i] = list[i - 1];
	list[i] = x;
}

/* Products of row with entries first..first+width of the bank. Those of f32 are off by less than margin. */
static void walk(struct near *list, int count, const float *x, int width, int first, const float *row, const float *bank, int dim)
{
	float margin = (float)dim * FLT_EPSILON;

	for (int j = 0; j < width; j++)
		if (x[j] + margin > list[count - 1].cosine)
			insert(list, count, (struct near){ dot(row, bank + (size_t)(first + j) * dim, dim), first + j });
}

void top_rows(const float *q, int n, const float *bank, int k, int dim, int count, int32_t *index)
{
#pragma omp parallel for schedule(dynamic)
	for (int from = 0; from < n; from += ROWS) {
		int rows = MIN(ROWS, n - from);
		float *x = xaligned(ROWS * BLOCK * sizeof(float));
		struct near *list = xcalloc((size_t)ROWS * count, sizeof(*list));

		for (int i = 0; i < rows * count; i++)
			list[i].cosine = -INFINITY;
		for (int j = 0; j < k; j += BLOCK) {
			int width = MIN(BLOCK, k - j);

			gemm(false, true, rows, width, dim, 1, q + (size_t)from * dim, dim, bank + (size_t)j * dim, dim, 0, x,
			     BLOCK);
			for (int i = 0; i < rows; i++)
				walk(list + (size_t)i * count, count, x + (size_t)i * BLOCK, width, j,
				     q + (size_t)(from + i) * dim, bank, dim);
		}
		for (int i = 0; i < rows * count; i++)
			index[(size_t)from * count + i] = list[i].at;
		free(list);
		free(x);
	}
}
