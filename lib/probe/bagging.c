#include "lib/probe/bagging.h"
#include "lib/probe/nearest.h"
#include "lib/tensor/gemm.h"

#include <math.h>

enum { QUERIES = 384, BLOCK = 768, SLICE = 1024 };   /* rows of a tile, and columns of them that are multiplied at a time */

/* With unit rows u less their mean m, u_i . u_j = (u_i - m) . (u_j - m) + m . u_j + what is the same for all j. */
struct rows {
	const float *x;
	int64_t n, dim;
	int k;
	float *inverse;                /* (n): 1 / |x|, 0 for x = 0 */
	float *mean;                   /* (dim) */
	float *one, *along;            /* (n): 1; m . u, less its mean */
};

struct tile {
	float *dots, *query, *other;   /* (QUERIES, BLOCK), (QUERIES, SLICE), (BLOCK, SLICE) */
	struct nearest near[QUERIES];
	nearest_key *keys;             /* behind them */
};

static double norm_of(const float *x, int64_t dim)
{
	double sum = 0;

	for (int64_t d = 0; d < dim; d++)
		sum += (double)x[d] * x[d];
	return sqrt(sum);
}

/* Sums run over the samples in their order, whatever the number of threads. */
static void measure_mean(struct rows *r)
{
#pragma omp parallel for
	for (int64_t i = 0; i < r->n; i++) {
		double norm = norm_of(r->x + i * r->dim, r->dim);

		r->inverse[i] = norm > 0 ? (float)(1 / norm) : 0;
		r->one[i] = 1;
	}
#pragma omp parallel for
	for (int64_t d = 0; d < r->dim; d++) {
		double sum = 0;

		for (int64_t i = 0; i < r->n; i++)
			sum += (double)r->x[i * r->dim + d] * r->inverse[i];
		r->mean[d] = (float)(sum / r->n);
	}
}

static void measure_along(struct rows *r)
{
	double *along = xcalloc(r->n, sizeof(*along)), sum = 0;

#pragma omp parallel for
	for (int64_t i = 0; i < r->n; i++)
		for (int64_t d = 0; d < r->dim; d++)
			along[i] += (double)r->x[i * r->dim + d] * r->inverse[i] * r->mean[d];
	for (int64_t i = 0; i < r->n; i++)
		sum += along[i];
	for (int64_t i = 0; i < r->n; i++)
		r->along[i] = (float)(along[i] - sum / r->n);
	free(along);
}

static struct tile *tile_new(const struct rows *r)
{
	struct tile *t = xcalloc(1, sizeof(*t));
	size_t slice = MIN(SLICE, r->dim), room = NEAREST_ROOM(r->k + 1);

	t->dots = xaligned((size_t)QUERIES * BLOCK * sizeof(float));
	t->query = xaligned((size_t)QUERIES * slice * sizeof(float));
	t->other = xaligned((size_t)BLOCK * slice * sizeof(float));
	t->keys = xcalloc(QUERIES * room, sizeof(*t->keys));
	for (int i = 0; i < QUERIES; i++)
		t->near[i] = (struct nearest){ .keys = t->keys + i * room, .k = r->k + 1 };
	return t;
}

static void tile_free(struct tile *t)
{
	free(t->dots);
	free(t->query);
	free(t->other);
	free(t->keys);
	free(t);
}

static void copy_unit(float *to, const struct rows *r, int64_t first, int count, int64_t from, int width)
{
	for (int i = 0; i < count; i++)
		for (int d = 0; d < width; d++)
			to[(size_t)i * width + d] =
				r->x[(first + i) * r->dim + from + d] * r->inverse[first + i] - r->mean[from + d];
}

static void multiply(const struct rows *r, struct tile *t, int64_t first, int rows, int64_t other, int count)
{
	for (int64_t d = 0; d < r->dim; d += SLICE) {
		int width = (int)MIN(SLICE, r->dim - d);

		copy_unit(t->query, r, first, rows, d, width);
		copy_unit(t->other, r, other, count, d, width);
		gemm(false, true, rows, count, width, 1, t->query, width, t->other, width, d > 0, t->dots, BLOCK);
	}
}

/* The nearest but for the row itself, which need not be among them where others equal it. */
static void take(const struct rows *r, struct nearest *near, int64_t row, int32_t *bag)
{
	int n = 0;

	nearest_sort(near);
	for (int i = 0; i < near->count && n < r->k; i++)
		if (nearest_index(near->keys[i]) != row)
			bag[n++] = nearest_index(near->keys[i]);
}

static void run_tile(const struct rows *r, struct tile *t, int64_t first, int32_t *bag)
{
	int rows = (int)MIN(QUERIES, r->n - first);

	for (int i = 0; i < rows; i++)
		nearest_clear(&t->near[i]);
	for (int64_t j = 0; j < r->n; j += BLOCK) {
		int count = (int)MIN(BLOCK, r->n - j);

		multiply(r, t, first, rows, j, count);
		for (int i = 0; i < rows; i++)
			nearest_offer(&t->near[i], t->dots + (size_t)i * BLOCK, r->one + j, r->along + j, count, (int32_t)j);
	}
	for (int i = 0; i < rows; i++)
		take(r, &t->near[i], first + i, bag + (first + i) * r->k);
}

void bagging_run(const float *x, int64_t n, int64_t dim, int k, int32_t *bag)
{
	struct rows r = { .x = x, .n = n, .dim = dim, .k = k };

	r.inverse = xaligned(n * sizeof(float));
	r.one = xaligned(n * sizeof(float));
	r.along = xaligned(n * sizeof(float));
	r.mean = xaligned(dim * sizeof(float));
	measure_mean(&r);
	measure_along(&r);
#pragma omp parallel
	{
		struct tile *t = tile_new(&r);

#pragma omp for schedule(dynamic)
		for (int64_t first = 0; first < n; first += QUERIES)
			run_tile(&r, t, first, bag);
		tile_free(t);
	}
	free(r.inverse);
	free(r.one);
	free(r.along);
	free(r.mean);
}
