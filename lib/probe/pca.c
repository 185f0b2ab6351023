#include "lib/probe/pca.h"
#include "lib/tensor/gemm.h"

#include <math.h>

enum { ROWS = 64, DEPTH = 1024 };      /* of a product that one thread makes at a time */

/* Sums run over the samples in their order, whatever the number of threads. */
static float *centre(const float *x, int64_t n, int64_t dim)
{
	float *c = xaligned(n * dim * sizeof(float));

#pragma omp parallel for
	for (int64_t d = 0; d < dim; d++) {
		double sum = 0;

		for (int64_t i = 0; i < n; i++)
			sum += x[i * dim + d];
		for (int64_t i = 0; i < n; i++)
			c[i * dim + d] = (float)(x[i * dim + d] - sum / n);
	}
	return c;
}

/* Rows first .. first+rows-1 of c^T c, or of c c^T, up to the diagonal; added up in f64 over what they are sums of. */
static void multiply(const float *c, int64_t n, int64_t dim, bool of_samples, int first, int rows, float *part, double *out)
{
	int side = (int)(of_samples ? n : dim), columns = first + rows;
	int64_t depth = of_samples ? dim : n;

	for (int64_t from = 0; from < depth; from += DEPTH) {
		int width = (int)MIN(DEPTH, depth - from);
		const float *base = of_samples ? c + from : c + from * dim, *a = base + (of_samples ? first * dim : first);

		gemm(!of_samples, of_samples, rows, columns, width, 1, a, (int)dim, base, (int)dim, 0, part, side);
		for (int i = 0; i < rows; i++)
			for (int j = 0; j < columns; j++)
				out[(size_t)(first + i) * side + j] += part[(size_t)i * side + j];
	}
}

static double *products(const float *c, int64_t n, int64_t dim, bool of_samples, int side)
{
	double *out = xcalloc((size_t)side * side, sizeof(*out));

#pragma omp parallel
	{
		float *part = xaligned((size_t)ROWS * side * sizeof(float));

#pragma omp for schedule(dynamic)
		for (int first = 0; first < side; first += ROWS)
			multiply(c, n, dim, of_samples, first, MIN(ROWS, side - first), part, out);
		free(part);
	}
	return out;
}

/* scores (n, dims) = c times the last of the eigenvectors, which are rows, the last one first. */
static void project(const float *c, int64_t n, int64_t dim, const double *vectors, struct pca *p, int dims)
{
	float *v = xaligned(dim * dims * sizeof(float));

	for (int k = 0; k < dims; k++)
		for (int64_t d = 0; d < dim; d++)
			v[k * dim + d] = (float)vectors[(dim - 1 - k) * dim + d];
#pragma omp parallel for
	for (int64_t i = 0; i < n; i += ROWS)
		gemm(false, true, (int)MIN(ROWS, n - i), dims, (int)dim, 1, c + i * dim, (int)dim, v, (int)dim, 0,
		     p->scores + i * dims, dims);
	free(v);
}

static void turn(struct pca *p, int64_t n, int dims)
{
	for (int k = 0; k < dims; k++) {
		float *column = p->scores + k, most = 0;

		for (int64_t i = 0; i < n; i++)
			most = fabsf(column[i * dims]) > fabsf(most) ? column[i * dims] : most;
		for (int64_t i = 0; most < 0 && i < n; i++)
			column[i * dims] = -column[i * dims];
	}
}

int pca_run(const float *x, int64_t n, int64_t dim, int dims, struct pca *p)
{
	bool of_samples = n < dim;
	int side = (int)MIN(MIN(n, dim), PCA_SIDE + 1), r;
	double *a, *values;
	float *c;

	if (side > PCA_SIDE)
		return fail_code(EXIT_USAGE,
				 "principal components of %lld samples of %lld values: one of the two must be at most %d: give a "
				 "smaller n, or augment a smaller --size",
				 (long long)n, (long long)dim, PCA_SIDE);
	c = centre(x, n, dim);
	a = products(c, n, dim, of_samples, side);
	values = xcalloc(side, sizeof(*values));
	*p = (struct pca){ xaligned(n * dims * sizeof(float)), xcalloc(dims, sizeof(double)), 0 };
	for (int i = 0; i < side; i++)
		p->total += a[(size_t)i * side + i] / (n - 1);
	r = gemm_eigen(side, a, values);
	for (int k = 0; k < dims; k++)
		p->variance[k] = MAX(values[side - 1 - k], 0) / (n - 1);
	if (!of_samples)
		project(c, n, dim, a, p, dims);
	for (int64_t i = 0; of_samples && i < n * dims; i++)
		p->scores[i] = (float)(a[(side - 1 - i % dims) * side + i / dims] * sqrt(p->variance[i % dims] * (n - 1)));
	turn(p, n, dims);
	free(values);
	free(a);
	free(c);
	if (r == 0)
		return 0;
	pca_release(p);
	return fail("the principal components were not found: LAPACK says %d", r);
}

void pca_release(struct pca *p)
{
	free(p->scores);
	free(p->variance);
	*p = (struct pca){ NULL, NULL, 0 };
}
