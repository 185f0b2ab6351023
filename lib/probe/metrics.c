#include "lib/probe/metrics.h"
#include "lib/base/rng.h"
#include "lib/tensor/gemm.h"

#include <math.h>

enum {
	SET = 128, SETS = 3,           /* of uniformity */
	QUERIES = 128, BLOCK = 512,    /* of a tile of dot products */
};

static double dot(const float *a, const float *b, int64_t dim)
{
	double sum = 0;

#pragma omp simd reduction(+ : sum)
	for (int64_t d = 0; d < dim; d++)
		sum += (double)a[d] * b[d];
	return sum;
}

static double distance(const float *a, const float *b, int64_t dim)
{
	double sum = 0;

#pragma omp simd reduction(+ : sum)
	for (int64_t d = 0; d < dim; d++) {
		double off = (double)a[d] - b[d];

		sum += off * off;
	}
	return sum;
}

/* --- rows of unit length, less a common centre: what is measured are distances, and those of rows that nearly coincide, as a
 * collapsed network's do, are in digits that rows of length 1 have not --- */

static double inverse_length(const float *x, int64_t dim)
{
	return 1 / MAX(sqrt(dot(x, x, dim)), 1e-12);
}

/* Mean of the rows scaled to unit length: (dim). */
static double *find_centre(const float *x, int64_t n, int64_t dim)
{
	double *centre = xcalloc(dim, sizeof(*centre));

	for (int64_t i = 0; i < n; i++) {
		double scale = inverse_length(x + i * dim, dim) / n;

		for (int64_t d = 0; d < dim; d++)
			centre[d] += x[i * dim + d] * scale;
	}
	return centre;
}

static float *unit_rows(const float *x, int64_t n, int64_t dim, const double *centre)
{
	float *u = xaligned(n * dim * sizeof(float));

#pragma omp parallel for
	for (int64_t i = 0; i < n; i++) {
		double scale = inverse_length(x + i * dim, dim);

		for (int64_t d = 0; d < dim; d++)
			u[i * dim + d] = (float)(x[i * dim + d] * scale - centre[d]);
	}
	return u;
}

static double alignment(const float *a, const float *b, int64_t n, int64_t dim)
{
	return distance(a, b, n * dim) / n;
}

/* --- classes --- */

/* Samples by class: order holds sample numbers, class c those from start[c] to start[c + 1]. */
struct classes {
	int count;
	int64_t *order, *start;
};

static void classes_init(struct classes *k, const int32_t *label, int64_t n)
{
	int highest = 0;

	for (int64_t i = 0; i < n; i++)
		highest = MAX(highest, label[i]);
	k->count = highest + 1;
	k->order = xcalloc(n, sizeof(*k->order));
	k->start = xcalloc(k->count + 2, sizeof(*k->start));
	for (int64_t i = 0; i < n; i++)
		k->start[MAX(label[i], 0) + 2]++;
	for (int c = 0; c < k->count; c++)
		k->start[c + 2] += k->start[c + 1];
	for (int64_t i = 0; i < n; i++) /* start[c + 1] runs from the first of class c to the first of the next */
		k->order[k->start[MAX(label[i], 0) + 1]++] = i;
}

static void classes_release(struct classes *k)
{
	free(k->order);
	free(k->start);
}

/* With s the sum of n rows, the sum of |x_i - x_j|^2 over pairs is n sum |x_i|^2 - |s|^2. */
static double class_spread(const float *u, const int64_t *order, int64_t n, int64_t dim, double *sum)
{
	double square = 0, apart = 0;

	memset(sum, 0, dim * sizeof(*sum));
	for (int64_t i = 0; i < n; i++) {
		const float *row = u + order[i] * dim;

		for (int64_t d = 0; d < dim; d++)
			sum[d] += row[d];
		square += dot(row, row, dim);
	}
	for (int64_t d = 0; d < dim; d++)
		apart += sum[d] * sum[d];
	return 2 * (n * square - apart) / ((double)n * (n - 1));
}

static double intra_class(const float *u, const struct classes *k, int64_t dim)
{
	double *sum = xcalloc(dim, sizeof(*sum)), total = 0;
	int counted = 0;

	for (int c = 0; c < k->count; c++) {
		int64_t n = k->start[c + 1] - k->start[c];

		if (n < 2)
			continue;
		total += class_spread(u, k->order + k->start[c], n, dim, sum);
		counted++;
	}
	free(sum);
	return counted ? total / counted : NAN;
}

/* --- uniformity --- */

static double set_uniformity(const float *u, int64_t n, int64_t dim, int64_t first, int64_t size)
{
	const float *row[SET];
	double sum = 0;

	for (int64_t i = 0; i < size; i++) {
		row[i] = u + rng_permute(0, 0, RNG_PROBE, (uint32_t)n, (uint32_t)(first + i)) * dim;
		for (int64_t j = 0; j < i; j++)
			sum += exp(-2 * distance(row[i], row[j], dim));
	}
	return log(sum / (size * (size - 1) / 2.0));
}

static double uniformity(const float *u, int64_t n, int64_t dim)
{
	int64_t size = MIN(SET, n), sets = MIN(SETS, n / size);
	double sum = 0;

	for (int64_t s = 0; s < sets; s++)
		sum += set_uniformity(u, n, dim, s * size, size);
	return sum / sets;
}

/* --- instance discrimination --- */

/* How many other queries outrank the positive of each query of a tile. Of unit rows the larger cosine is the smaller distance:
 * the larger x.y - |y|^2/2. half (n): |query|^2/2. */
static void rank_tile(const float *query, const float *positive, const float *half, int64_t n, int dim, int64_t from, int rows,
		      int32_t *above)
{
	float *x = xaligned((size_t)QUERIES * BLOCK * sizeof(float)); /* (rows, BLOCK) */

	memset(above + from, 0, rows * sizeof(*above));
	for (int64_t j = 0; j < n; j += BLOCK) {
		int width = (int)MIN(BLOCK, n - j);

		gemm(false, true, rows, width, dim, 1, query + from * dim, dim, query + j * dim, dim, 0, x, BLOCK);
		for (int i = 0; i < rows; i++) {
			int64_t self = from + i;
			const float *mate = positive + self * dim;
			float mine = (float)(dot(query + self * dim, mate, dim) - dot(mate, mate, dim) / 2);
			int count = 0;

			if (self >= j && self < j + width)
				x[(size_t)i * BLOCK + self - j] = -INFINITY;
			for (int k = 0; k < width; k++)
				count += x[(size_t)i * BLOCK + k] - half[j + k] > mine;
			above[self] += count;
		}
	}
	free(x);
}

static void discriminate(const float *query, const float *positive, int64_t n, int64_t dim, const struct classes *k, double *top)
{
	int32_t *above = xcalloc(n, sizeof(*above));
	float *half = xaligned(n * sizeof(float));
	int counted = 0;

#pragma omp parallel for
	for (int64_t i = 0; i < n; i++)
		half[i] = (float)(dot(query + i * dim, query + i * dim, dim) / 2);
#pragma omp parallel for schedule(dynamic)
	for (int64_t from = 0; from < n; from += QUERIES)
		rank_tile(query, positive, half, n, (int)dim, from, (int)MIN(QUERIES, n - from), above);
	for (int t = 0; t < METRICS_TOP; t++)
		top[t] = 0;
	for (int c = 0; c < k->count; c++) {
		int64_t size = k->start[c + 1] - k->start[c];

		counted += size > 0;
		for (int t = 0; t < METRICS_TOP; t++) {
			int64_t hits = 0;

			for (int64_t i = k->start[c]; i < k->start[c + 1]; i++)
				hits += above[k->order[i]] <= t;
			top[t] += size ? 100.0 * hits / size : 0;
		}
	}
	for (int t = 0; t < METRICS_TOP; t++)
		top[t] /= counted;
	free(above);
	free(half);
}

/* --- all of them --- */

static void clear(struct metrics *m)
{
	for (int i = 0; i < 2; i++) {
		m->uniformity[i] = m->intra_class[i] = m->alignment[i] = NAN;
		for (int t = 0; t < METRICS_TOP; t++)
			m->discrimination[i][t] = NAN;
	}
}

void metrics_run(const float *const *x, int views, int64_t n, int64_t dim, const int32_t *label, struct metrics *m)
{
	float *u[FEATURE_VIEWS] = { NULL };
	bool known = true;
	struct classes k;
	double *centre;

	clear(m);
	classes_init(&k, label, n);
	m->classes = 0;
	for (int c = 0; c < k.count; c++)
		m->classes += k.start[c + 1] > k.start[c];
	for (int64_t i = 0; i < n; i++)
		known = known && label[i] >= 0;
	centre = find_centre(x[0], n, dim);
	for (int v = 0; v < views; v++)
		u[v] = unit_rows(x[v], n, dim, centre);
	free(centre);
	for (int v = 0; v < MIN(views, 2); v++) {
		m->uniformity[v] = uniformity(u[v], n, dim);
		if (known)
			m->intra_class[v] = intra_class(u[v], &k, dim);
	}
	for (int v = 0; v + 1 < views; v++) {
		m->alignment[v] = alignment(u[v], u[v + 1], n, dim);
		discriminate(u[v], u[v + 1], n, dim, &k, m->discrimination[v]);
	}
	for (int v = 0; v < views; v++)
		free(u[v]);
	classes_release(&k);
}
