#include "lib/probe/knn.h"
#include "lib/probe/nearest.h"
#include "lib/tensor/gemm.h"

#include <math.h>
#include <omp.h>

enum {
	QUERIES = 384,                 /* of a tile: large, since a product packs both sides first */
	BLOCK = 768,                   /* training samples of a tile */
	SLICE = 1024,                  /* dimensions of a product: both sides are copied, centred */
	COLUMNS = 64,                  /* of the centre that are summed at a time */
	ODD = KNN_BEST / 2 + 1,        /* k = 1, 3, .. KNN_BEST */
};

/* What all tiles read. Rows that lie close together, as those of a nearly collapsed network do, differ in the last digits of
 * products of their whole lengths; so all products are of rows less the centre m, the mean of the training samples. With
 * d = (q - m).(x - m) and e = (q - m).m, what ranks like the distance, reversed, is
 *	2 d - |x - m|^2
 * and like the cosine, (q.x) / |x| less what is the same for all x:
 *	d / |x| + (m.x / |x| - its mean) + e (1 / |x| - its mean) */
struct search {
	const struct labelled *sets;
	int k, best_k;
	double t;
	float *centre;                 /* (dim) */
	float *inverse;                /* (train_count): 1 / |x|, 0 for x = 0 */
	float *base, *slope;           /* (train_count): of the cosine, the terms in brackets */
	float *two, *square;           /* (train_count): of the distance */
	float *zero;                   /* (train_count) */
};

/* What one thread needs, and what it counts. */
struct worker {
	float *dots;                   /* (QUERIES, BLOCK) */
	float *query, *train;          /* (QUERIES, SLICE), (BLOCK, SLICE): centred */
	float shift[BLOCK];
	double norm[QUERIES];          /* |q| */
	float along[QUERIES];          /* e */
	struct nearest cosine[QUERIES], euclid[QUERIES];
	nearest_key *keys;             /* behind them */
	double *votes;                 /* (classes) */
	int64_t top1, top5, odd[ODD];
};

/* --- life cycle --- */

/* Columns from .. to of the centre; sums run over the samples in their order, whatever the number of threads. */
static void measure_centre(struct search *s, int64_t from, int64_t to)
{
	const struct labelled *sets = s->sets;
	double sum[COLUMNS] = { 0 };

	for (int64_t i = 0; i < sets->train_count; i++)
		for (int64_t d = from; d < to; d++)
			sum[d - from] += sets->train[i * sets->dim + d];
	for (int64_t d = from; d < to; d++)
		s->centre[d] = (float)(sum[d - from] / sets->train_count);
}

/* Of one training sample. *along: m.x / |x|; returns 1 / |x|. */
static double measure_row(struct search *s, int64_t i, double *along)
{
	const float *x = s->sets->train + i * s->sets->dim;
	double whole = 0, off = 0, product = 0, inverse;

	for (int64_t d = 0; d < s->sets->dim; d++) {
		double rest = x[d] - s->centre[d];

		whole += (double)x[d] * x[d];
		off += rest * rest;
		product += (double)x[d] * s->centre[d];
	}
	inverse = whole > 0 ? 1 / sqrt(whole) : 0;
	*along = product * inverse;
	s->inverse[i] = (float)inverse;
	s->two[i] = 2;
	s->square[i] = (float)-off;
	return inverse;
}

/* to (n) := x less its mean. */
static void centre_values(float *to, const double *x, int64_t n)
{
	double sum = 0;

	for (int64_t i = 0; i < n; i++)
		sum += x[i];
	for (int64_t i = 0; i < n; i++)
		to[i] = (float)(x[i] - sum / n);
}

static void measure(struct search *s)
{
	int64_t n = s->sets->train_count, dim = s->sets->dim;
	double *along = xcalloc(n, sizeof(*along)), *inverse = xcalloc(n, sizeof(*inverse));

#pragma omp parallel for
	for (int64_t d = 0; d < dim; d += COLUMNS)
		measure_centre(s, d, MIN(dim, d + COLUMNS));
#pragma omp parallel for
	for (int64_t i = 0; i < n; i++)
		inverse[i] = measure_row(s, i, &along[i]);
	centre_values(s->base, along, n);
	centre_values(s->slope, inverse, n);
	free(along);
	free(inverse);
}

static void search_init(struct search *s, const struct labelled *sets, int k, double t)
{
	float **arrays[] = { &s->inverse, &s->base, &s->slope, &s->two, &s->square, &s->zero };

	*s = (struct search){ .sets = sets, .t = t };
	s->k = (int)MIN(k, sets->train_count);
	s->best_k = (int)MIN(KNN_BEST, sets->train_count);
	s->centre = xaligned(sets->dim * sizeof(float));
	for (size_t i = 0; i < ARRAY_SIZE(arrays); i++)
		*arrays[i] = xaligned(sets->train_count * sizeof(float));
	measure(s);
}

static void search_release(struct search *s)
{
	free(s->centre);
	free(s->inverse);
	free(s->base);
	free(s->slope);
	free(s->two);
	free(s->square);
	free(s->zero);
}

static struct worker *worker_new(const struct search *s)
{
	struct worker *w = xcalloc(1, sizeof(*w));
	size_t each = NEAREST_ROOM(s->k) + NEAREST_ROOM(s->best_k), slice = MIN(SLICE, s->sets->dim);

	w->dots = xaligned((size_t)QUERIES * BLOCK * sizeof(float));
	w->query = xaligned((size_t)QUERIES * slice * sizeof(float));
	w->train = xaligned((size_t)BLOCK * slice * sizeof(float));
	w->keys = xcalloc(QUERIES * each, sizeof(*w->keys));
	w->votes = xcalloc(s->sets->classes, sizeof(*w->votes));
	for (int i = 0; i < QUERIES; i++) {
		w->cosine[i] = (struct nearest){ .keys = w->keys + i * each, .k = s->k };
		w->euclid[i] = (struct nearest){ .keys = w->keys + i * each + NEAREST_ROOM(s->k), .k = s->best_k };
	}
	return w;
}

static void worker_free(struct worker *w)
{
	free(w->dots);
	free(w->query);
	free(w->train);
	free(w->keys);
	free(w->votes);
	free(w);
}

/* --- classifiers --- */

/* Weighted votes of the nearest by cosine, and the rank of the true class among them. */
static void vote_weighted(const struct search *s, struct worker *w, const struct nearest *near, double norm, int truth)
{
	const struct labelled *sets = s->sets;
	double mine;
	int above = 0;

	memset(w->votes, 0, sets->classes * sizeof(*w->votes));
	for (int i = 0; i < near->count; i++)
		w->votes[sets->train_label[nearest_index(near->keys[i])]] +=
			exp(((double)nearest_score(near->keys[i]) - nearest_score(near->keys[0])) / (norm * s->t));
	mine = w->votes[truth];
	for (int c = 0; c < sets->classes; c++)
		above += w->votes[c] > mine || (w->votes[c] == mine && c < truth);
	w->top1 += above < 1;
	w->top5 += above < 5 && mine > 0;
}

/* Majority of the nearest 1, 3, 5, .. by distance. */
static void vote_majority(const struct search *s, struct worker *w, const struct nearest *near, int truth)
{
	int best = -1;

	memset(w->votes, 0, s->sets->classes * sizeof(*w->votes));
	for (int i = 0; i < KNN_BEST; i++) {
		if (i < near->count) {
			int c = s->sets->train_label[nearest_index(near->keys[i])];

			w->votes[c]++;
			if (best < 0 || w->votes[c] > w->votes[best] || (w->votes[c] == w->votes[best] && c < best))
				best = c;
		}
		if (i % 2 == 0)
			w->odd[i / 2] += best == truth;
	}
}

/* --- tiles --- */

/* |q| and e of one query, and room for its neighbours. */
static void begin_query(const struct search *s, struct worker *w, int i, const float *query)
{
	double square = 0, along = 0;

	for (int64_t d = 0; d < s->sets->dim; d++) {
		square += (double)query[d] * query[d];
		along += ((double)query[d] - s->centre[d]) * s->centre[d];
	}
	w->norm[i] = sqrt(square);
	w->along[i] = (float)along;
	nearest_clear(&w->cosine[i]);
	nearest_clear(&w->euclid[i]);
}

/* Columns from .. from + width of rows of x (dim), less the centre's. */
static void copy_centred(float *to, const float *x, const struct search *s, int rows, int64_t from, int width)
{
	for (int i = 0; i < rows; i++)
		for (int d = 0; d < width; d++)
			to[(size_t)i * width + d] = x[i * s->sets->dim + from + d] - s->centre[from + d];
}

/* dots (rows, BLOCK) := products of centred rows, a slice of the dimensions at a time. */
static void multiply(const struct search *s, struct worker *w, const float *query, int rows, const float *train, int count)
{
	for (int64_t d = 0; d < s->sets->dim; d += SLICE) {
		int width = (int)MIN(SLICE, s->sets->dim - d);

		copy_centred(w->query, query, s, rows, d, width);
		copy_centred(w->train, train, s, count, d, width);
		gemm(false, true, rows, count, width, 1, w->query, width, w->train, width, d > 0, w->dots, BLOCK);
	}
}

/* A query that is 0 has the cosine 0 to all. */
static void offer(const struct search *s, struct worker *w, int i, int64_t from, int count)
{
	const float *x = w->dots + (size_t)i * BLOCK;

	nearest_offer(&w->euclid[i], x, s->two + from, s->square + from, count, (int32_t)from);
	for (int j = 0; j < count; j++)
		w->shift[j] = s->base[from + j] + w->along[i] * s->slope[from + j];
	if (w->norm[i] > 0)
		nearest_offer(&w->cosine[i], x, s->inverse + from, w->shift, count, (int32_t)from);
	else
		nearest_offer(&w->cosine[i], x, s->zero + from, s->zero + from, count, (int32_t)from);
}

static void run_tile(const struct search *s, struct worker *w, int64_t from, int rows)
{
	const struct labelled *sets = s->sets;
	const float *query = sets->test + from * sets->dim;

	for (int i = 0; i < rows; i++)
		begin_query(s, w, i, query + i * sets->dim);
	for (int64_t j = 0; j < sets->train_count; j += BLOCK) {
		int count = (int)MIN(BLOCK, sets->train_count - j);

		multiply(s, w, query, rows, sets->train + j * sets->dim, count);
		for (int i = 0; i < rows; i++)
			offer(s, w, i, j, count);
	}
	for (int i = 0; i < rows; i++) {
		nearest_sort(&w->cosine[i]);
		nearest_sort(&w->euclid[i]);
		vote_weighted(s, w, &w->cosine[i], MAX(w->norm[i], 1e-12), sets->test_label[from + i]);
		vote_majority(s, w, &w->euclid[i], sets->test_label[from + i]);
	}
}

static void report(const struct search *s, const int64_t counts[2 + ODD], int fixed_k, struct knn_result *r)
{
	double per_cent = 100.0 / s->sets->test_count;
	int best = 0;

	for (int i = 1; i < ODD && 2 * i + 1 <= s->best_k; i++)
		if (counts[2 + i] > counts[2 + best])
			best = i;
	*r = (struct knn_result){
		.k = s->k,
		.top1 = per_cent * counts[0],
		.top5 = per_cent * counts[1],
		.best_k = 2 * best + 1,
		.best = per_cent * counts[2 + best],
		.fixed_k = (int)MIN(fixed_k, s->sets->train_count),
		.fixed = per_cent * counts[2 + fixed_k / 2],
	};
}

void knn_run(const struct labelled *sets, int k, double t, int fixed_k, struct knn_result *r)
{
	int64_t counts[2 + ODD] = { 0 };
	struct search s;

	search_init(&s, sets, k, t);
#pragma omp parallel reduction(+ : counts)
	{
		struct worker *w = worker_new(&s);

#pragma omp for schedule(dynamic)
		for (int64_t from = 0; from < sets->test_count; from += QUERIES)
			run_tile(&s, w, from, (int)MIN(QUERIES, sets->test_count - from));
		counts[0] += w->top1;
		counts[1] += w->top5;
		for (int i = 0; i < ODD; i++)
			counts[2 + i] += w->odd[i];
		worker_free(w);
	}
	report(&s, counts, fixed_k, r);
	search_release(&s);
}
