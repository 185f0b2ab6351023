#include "lib/probe/bagging.h"
#include "lib/probe/nearest.h"
#include "lib/tensor/gemm.h"

#include <math.h>

enum { QUERIES = 384, BLOCK = 768, SLICE = 1024 };   /* rows of a tile, and columns of them that are multiplied at a time */

/* Rows as they are multiplied: u = x * scale less the mean of x's. With unit rows, u_i . u_j + m . u_j is the cosine but for what
 * is the same for all j; with a scale of 1, u_i . u_j - |u_j|^2 / 2 falls as the distance rises. */
struct rows {
	const float *x;
	int64_t n;
	float *scale;                  /* (n): 1 / |x|, 0 for x = 0; or 1 */
};

struct search {
	struct rows among, of;         /* the same for each among the others */
	bool same;
	int64_t dim;
	int k;
	enum bagging_law law;
	float *mean;                   /* (dim), of those among which is searched */
	float *one, *along;            /* (among.n): 1; what is added to the product, less its mean */
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

static void measure_scale(struct rows *r, const struct search *s)
{
	r->scale = xaligned(r->n * sizeof(float));
#pragma omp parallel for
	for (int64_t i = 0; i < r->n; i++) {
		double norm = s->law == BAGGING_COSINE ? norm_of(r->x + i * s->dim, s->dim) : 1;

		r->scale[i] = norm > 0 ? (float)(1 / norm) : 0;
	}
}

/* Sums run over the samples in their order, whatever the number of threads. */
static void measure_mean(struct search *s)
{
	const struct rows *r = &s->among;

#pragma omp parallel for
	for (int64_t d = 0; d < s->dim; d++) {
		double sum = 0;

		for (int64_t i = 0; i < r->n; i++)
			sum += (double)r->x[i * s->dim + d] * r->scale[i];
		s->mean[d] = (float)(sum / r->n);
	}
}

static void measure_along(struct search *s)
{
	const struct rows *r = &s->among;
	double *along = xcalloc(r->n, sizeof(*along)), sum = 0;

#pragma omp parallel for
	for (int64_t i = 0; i < r->n; i++)
		for (int64_t d = 0; d < s->dim; d++) {
			double x = (double)r->x[i * s->dim + d] * r->scale[i], u = x - s->mean[d];

			along[i] += s->law == BAGGING_COSINE ? x * s->mean[d] : -u * u / 2;
		}
	for (int64_t i = 0; i < r->n; i++)
		sum += along[i];
	for (int64_t i = 0; i < r->n; i++) {
		s->one[i] = 1;
		s->along[i] = (float)(along[i] - sum / r->n);
	}
	free(along);
}

static struct tile *tile_new(const struct search *s)
{
	struct tile *t = xcalloc(1, sizeof(*t));
	size_t slice = MIN(SLICE, s->dim), room = NEAREST_ROOM(s->k + 1);

	t->dots = xaligned((size_t)QUERIES * BLOCK * sizeof(float));
	t->query = xaligned((size_t)QUERIES * slice * sizeof(float));
	t->other = xaligned((size_t)BLOCK * slice * sizeof(float));
	t->keys = xcalloc(QUERIES * room, sizeof(*t->keys));
	for (int i = 0; i < QUERIES; i++)
		t->near[i] = (struct nearest){ .keys = t->keys + i * room, .k = s->k + 1 };
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

static void copy_rows(float *to, const struct search *s, const struct rows *r, int64_t first, int count, int64_t from, int width)
{
	for (int i = 0; i < count; i++)
		for (int d = 0; d < width; d++)
			to[(size_t)i * width + d] =
				r->x[(first + i) * s->dim + from + d] * r->scale[first + i] - s->mean[from + d];
}

static void multiply(const struct search *s, struct tile *t, int64_t first, int rows, int64_t other, int count)
{
	for (int64_t d = 0; d < s->dim; d += SLICE) {
		int width = (int)MIN(SLICE, s->dim - d);

		copy_rows(t->query, s, &s->of, first, rows, d, width);
		copy_rows(t->other, s, &s->among, other, count, d, width);
		gemm(false, true, rows, count, width, 1, t->query, width, t->other, width, d > 0, t->dots, BLOCK);
	}
}

/* The nearest but for the row itself, which need not be among them where others equal it. */
static void take(const struct search *s, struct nearest *near, int64_t row, int32_t *bag)
{
	int n = 0;

	nearest_sort(near);
	for (int i = 0; i < near->count && n < s->k; i++)
		if (!s->same || nearest_index(near->keys[i]) != row)
			bag[n++] = nearest_index(near->keys[i]);
}

static void run_tile(const struct search *s, struct tile *t, int64_t first, int32_t *bag)
{
	int rows = (int)MIN(QUERIES, s->of.n - first);

	for (int i = 0; i < rows; i++)
		nearest_clear(&t->near[i]);
	for (int64_t j = 0; j < s->among.n; j += BLOCK) {
		int count = (int)MIN(BLOCK, s->among.n - j);

		multiply(s, t, first, rows, j, count);
		for (int i = 0; i < rows; i++)
			nearest_offer(&t->near[i], t->dots + (size_t)i * BLOCK, s->one + j, s->along + j, count, (int32_t)j);
	}
	for (int i = 0; i < rows; i++)
		take(s, &t->near[i], first + i, bag + (first + i) * s->k);
}

static void run(struct search *s, int32_t *bag)
{
	s->one = xaligned(s->among.n * sizeof(float));
	s->along = xaligned(s->among.n * sizeof(float));
	s->mean = xaligned(s->dim * sizeof(float));
	measure_scale(&s->among, s);
	measure_scale(&s->of, s);
	measure_mean(s);
	measure_along(s);
#pragma omp parallel
	{
		struct tile *t = tile_new(s);

#pragma omp for schedule(dynamic)
		for (int64_t first = 0; first < s->of.n; first += QUERIES)
			run_tile(s, t, first, bag);
		tile_free(t);
	}
	free(s->among.scale);
	free(s->of.scale);
	free(s->one);
	free(s->along);
	free(s->mean);
}

void bagging_run(const float *x, int64_t n, int64_t dim, int k, enum bagging_law law, int32_t *bag)
{
	run(&(struct search){ { x, n, NULL }, { x, n, NULL }, true, dim, k, law, NULL, NULL, NULL }, bag);
}

void bagging_query(const float *x, int64_t n, const float *query, int64_t queries, int64_t dim, int k, enum bagging_law law,
		   int32_t *bag)
{
	run(&(struct search){ { x, n, NULL }, { query, queries, NULL }, false, dim, k, law, NULL, NULL, NULL }, bag);
}
