#include "lib/probe/affinity.h"
#include "lib/base/isa.h"
#include "lib/probe/bagging.h"

#include <math.h>

enum { BISECTIONS = 100 };
#define ENTROPY_ERROR 1e-6

/* --- one direction --- */

/* p (k) at a precision, of squared distances less the least one. Returns the entropy. */
static double weigh(const double *distance, int k, double precision, double *p)
{
	double sum = 0, mean = 0;

	for (int j = 0; j < k; j++) {
		p[j] = exp(-distance[j] * precision);
		sum += p[j];
	}
	for (int j = 0; j < k; j++) {
		p[j] /= sum;
		mean += p[j] * distance[j];
	}
	return log(sum) + precision * mean;
}

static void find_width(const double *distance, int k, double perplexity, double *p)
{
	double low = 0, high = INFINITY, precision = 1;

	for (int i = 0; i < BISECTIONS; i++) {
		double above = weigh(distance, k, precision, p) - log(perplexity);

		if (fabs(above) < ENTROPY_ERROR)
			break;
		if (above > 0)
			low = precision;
		else
			high = precision;
		precision = isinf(high) ? 2 * precision : (low + high) / 2;
	}
}

static double squared_distance(const float *a, const float *b, int64_t dim)
{
	double sum = 0;

	for (int64_t d = 0; d < dim; d++)
		sum += ((double)a[d] - b[d]) * ((double)a[d] - b[d]);
	return sum;
}

struct link {
	int32_t other;
	float p;
};

static int by_other(const void *a, const void *b)
{
	const struct link *x = a, *y = b;

	return (x->other > y->other) - (x->other < y->other);
}

/* The row's k links, by number. distance, p: room for k. */
static void link_row(const float *x, int64_t dim, int64_t i, const int32_t *near, int k, double perplexity, struct link *links,
		     double *distance, double *p)
{
	double least = INFINITY;

	for (int j = 0; j < k; j++) {
		distance[j] = squared_distance(x + i * dim, x + near[j] * dim, dim);
		least = MIN(least, distance[j]);
	}
	for (int j = 0; j < k; j++)
		distance[j] -= least;
	find_width(distance, k, perplexity, p);
	for (int j = 0; j < k; j++)
		links[j] = (struct link){ near[j], (float)p[j] };
	qsort(links, k, sizeof(*links), by_other);
}

static struct link *link_all(const float *x, int64_t n, int64_t dim, int k, double perplexity)
{
	int32_t *near = xcalloc(n * k, sizeof(*near));
	struct link *links = xcalloc(n * k, sizeof(*links));

	bagging_run(x, n, dim, k, BAGGING_EUCLID, near);
#pragma omp parallel
	{
		double *room = xcalloc(2 * k, sizeof(*room));

#pragma omp for
		for (int64_t i = 0; i < n; i++)
			link_row(x, dim, i, near + i * k, k, perplexity, links + i * k, room, room + k);
		free(room);
	}
	free(near);
	return links;
}

/* --- both directions --- */

/* The same links by whom they lead to, from whom in other; first (n + 1). */
static struct link *turn(const struct link *links, int64_t n, int k, int64_t *first)
{
	struct link *back = xcalloc(n * k, sizeof(*back));

	for (int64_t i = 0; i < n * k; i++)
		first[links[i].other + 1]++;
	for (int64_t i = 0; i < n; i++)
		first[i + 1] += first[i];
	for (int64_t i = 0; i < n * k; i++)
		back[first[links[i].other]++] = (struct link){ (int32_t)(i / k), links[i].p };
	memmove(first + 1, first, n * sizeof(*first));
	first[0] = 0;
	return back;
}

/* Two lists by number become one; the sums of both directions over 2 n. Returns its length. */
static int64_t merge(const struct affinity *a, const struct link *x, int64_t xs, const struct link *y, int64_t ys, int64_t to)
{
	int64_t i = 0, j = 0, start = to;

	for (; i < xs || j < ys; to++) {
		int32_t other = i < xs && (j == ys || x[i].other <= y[j].other) ? x[i].other : y[j].other;
		double sum = 0;

		if (i < xs && x[i].other == other)
			sum += x[i++].p;
		if (j < ys && y[j].other == other)
			sum += y[j++].p;
		a->other[to] = other;
		a->p[to] = (float)(sum / (2.0 * a->n));
	}
	return to - start;
}

void affinity_make(struct affinity *a, const float *x, int64_t n, int64_t dim, double perplexity)
{
	int k = (int)MIN(n - 1, (int64_t)(3 * perplexity + 1));
	struct link *links = link_all(x, n, dim, k, perplexity);
	int64_t *first = xcalloc(n + 1, sizeof(*first));
	struct link *back = turn(links, n, k, first);

	*a = (struct affinity){ n, xcalloc(n + 1, sizeof(*a->start)), xcalloc(2 * n * k, sizeof(*a->other)),
				xcalloc(2 * n * k, sizeof(*a->p)) };
	for (int64_t i = 0; i < n; i++)
		a->start[i + 1] =
			a->start[i] + merge(a, links + i * k, k, back + first[i], first[i + 1] - first[i], a->start[i]);
	free(links);
	free(back);
	free(first);
}

void affinity_release(struct affinity *a)
{
	free(a->start);
	free(a->other);
	free(a->p);
	*a = (struct affinity){ 0, NULL, NULL, NULL };
}

/* --- what they do to points --- */

static inline __attribute__((always_inline)) void pull_body(const struct affinity *a, const float *y, int64_t i, float *force)
{
	const float *u = y, *v = y + a->n;
	float x0 = u[i], y0 = v[i], fx = 0, fy = 0;

#pragma omp simd reduction(+ : fx, fy)
	for (int64_t e = a->start[i]; e < a->start[i + 1]; e++) {
		float dx = x0 - u[a->other[e]], dy = y0 - v[a->other[e]], pq = a->p[e] / (1 + dx * dx + dy * dy);

		fx += pq * dx;
		fy += pq * dy;
	}
	force[i] = fx;
	force[a->n + i] = fy;
}

#define WIDTH(suffix, target)                                                                                  \
	target static void pull_##suffix(const struct affinity *a, const float *y, int64_t i, float *force) \
	{                                                                                                      \
		pull_body(a, y, i, force);                                                                     \
	}
WIDTH(plain, )
WIDTH(avx2, WIDE_AVX2)
WIDTH(avx512, WIDE_AVX512)

static void (*const pulls[])(const struct affinity *, const float *, int64_t, float *) = {
	[ISA_PLAIN] = pull_plain,
	[ISA_AVX2] = pull_avx2,
	[ISA_AVX512] = pull_avx512,
};

void affinity_pull(const struct affinity *a, const float *y, float *force)
{
#pragma omp parallel for schedule(dynamic, 64)
	for (int64_t i = 0; i < a->n; i++)
		ISA_ROW(pulls)(a, y, i, force);
}

double affinity_divergence(const struct affinity *a, const float *y, double z)
{
	double sum = 0;

	for (int64_t i = 0; i < a->n; i++)
		for (int64_t e = a->start[i]; e < a->start[i + 1]; e++) {
			double dx = (double)y[i] - y[a->other[e]], dy = (double)y[a->n + i] - y[a->n + a->other[e]];

			if (a->p[e] > 0)
				sum += a->p[e] * (log(a->p[e]) + log(1 + dx * dx + dy * dy) + log(z));
		}
	return sum;
}
