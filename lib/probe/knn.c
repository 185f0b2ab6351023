#include "lib/probe/knn.h"
#include "lib/probe/nearest.h"
#include "lib/tensor/gemm.h"

#include <math.h>
#include <omp.h>

enum {
	QUERIES = 384,                 /* of a tile: large, since a product packs both sides first */
	BLOCK = 768,                   /* training samples of a tile */
	ODD = KNN_BEST / 2 + 1,        /* k = 1, 3, .. KNN_BEST */
};

/* What all tiles read. A score that ranks like the cosine: dot / |train|; like the distance, reversed: 2 dot - |train|^2. */
struct search {
	const struct labelled *sets;
	int k, best_k;
	double t;
	float *inverse, *zero, *two, *square;  /* (train_count): scale and shift of the cosine, then of the distance */
};

/* What one thread needs, and what it counts. */
struct worker {
	float *dots;                   /* (QUERIES, BLOCK) */
	struct nearest cosine[QUERIES], euclid[QUERIES];
	nearest_key *keys;             /* behind them */
	double *votes;                 /* (classes) */
	int64_t top1, top5, odd[ODD];
};

/* --- life cycle --- */

static void search_init(struct search *s, const struct labelled *sets, int k, double t)
{
	size_t size = sets->train_count * sizeof(float);

	*s = (struct search){ .sets = sets, .t = t };
	s->k = (int)MIN(k, sets->train_count);
	s->best_k = (int)MIN(KNN_BEST, sets->train_count);
	s->inverse = xaligned(size);
	s->zero = xaligned(size);
	s->two = xaligned(size);
	s->square = xaligned(size);
#pragma omp parallel for
	for (int64_t i = 0; i < sets->train_count; i++) {
		const float *x = sets->train + i * sets->dim;
		double sum = 0;

		for (int64_t d = 0; d < sets->dim; d++)
			sum += (double)x[d] * x[d];
		s->inverse[i] = (float)(1 / MAX(sqrt(sum), 1e-12));
		s->two[i] = 2;
		s->square[i] = (float)-sum;
	}
}

static void search_release(struct search *s)
{
	free(s->inverse);
	free(s->zero);
	free(s->two);
	free(s->square);
}

static struct worker *worker_new(const struct search *s)
{
	struct worker *w = xcalloc(1, sizeof(*w));
	size_t each = NEAREST_ROOM(s->k) + NEAREST_ROOM(s->best_k);

	w->dots = xaligned((size_t)QUERIES * BLOCK * sizeof(float));
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
	free(w->keys);
	free(w->votes);
	free(w);
}

/* --- classifiers --- */

/* Weighted votes of the nearest by cosine, and the rank of the true class among them. */
static void vote_weighted(const struct search *s, struct worker *w, const struct nearest *near, const float *query, int truth)
{
	const struct labelled *sets = s->sets;
	double square = 0, norm, mine;
	int above = 0;

	for (int64_t d = 0; d < sets->dim; d++)
		square += (double)query[d] * query[d];
	norm = MAX(sqrt(square), 1e-12);
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

static void run_tile(const struct search *s, struct worker *w, int64_t from, int rows)
{
	const struct labelled *sets = s->sets;
	int dim = (int)sets->dim;

	for (int i = 0; i < rows; i++) {
		nearest_clear(&w->cosine[i]);
		nearest_clear(&w->euclid[i]);
	}
	for (int64_t j = 0; j < sets->train_count; j += BLOCK) {
		int width = (int)MIN(BLOCK, sets->train_count - j);

		gemm(false, true, rows, width, dim, 1, sets->test + from * dim, dim, sets->train + j * dim, dim, 0, w->dots, BLOCK);
		for (int i = 0; i < rows; i++) {
			const float *x = w->dots + (size_t)i * BLOCK;

			nearest_offer(&w->cosine[i], x, s->inverse + j, s->zero + j, width, (int32_t)j);
			nearest_offer(&w->euclid[i], x, s->two + j, s->square + j, width, (int32_t)j);
		}
	}
	for (int i = 0; i < rows; i++) {
		nearest_sort(&w->cosine[i]);
		nearest_sort(&w->euclid[i]);
		vote_weighted(s, w, &w->cosine[i], sets->test + (from + i) * dim, sets->test_label[from + i]);
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
		.fixed_k = fixed_k,
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
