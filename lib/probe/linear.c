#include "lib/probe/linear.h"
#include "lib/base/rng.h"
#include "lib/probe/fit.h"

#include <math.h>

enum {
	SMALL = 10000,                 /* samples that the path is walked on, at most; of so many, and ... */
	LIGHT = 100000000,             /* ... so many products a pass, every fold is scored */
	PATIENCE = 3,                  /* lambdas without progress that end the path */
};
#define LAMBDA_FIRST 1e-1
#define LAMBDA_LAST 0.9e-11
#define LAMBDA_STEP 0.31622776601683794
#define LAMBDA_STRIDE 0.1 /* where one fold alone is scored, and so no finer choice is sure */

/* Walks the path; w (folds, params) holds each fold's weights, best (params) receives the first fold's at the best lambda. */
static void choose(struct fit *f, int folds, float *w, float *best, struct linear_result *r)
{
	double loss = INFINITY, hits = -1, step = folds > 1 ? LAMBDA_STEP : LAMBDA_STRIDE;
	int stale = 0;

	for (double lambda = LAMBDA_FIRST; lambda > LAMBDA_LAST && stale < PATIENCE; lambda *= step) {
		struct score s = { 0 };

		for (int k = 0; k < folds; k++) {
			struct score one = fit_run(f, w + k * f->params, lambda, k);

			s.hits += one.hits;
			s.count += one.count;
			s.loss += one.loss;
		}
		stale = s.hits > hits || s.loss < loss ? 0 : stale + 1;
		loss = MIN(loss, s.loss);
		r->fits++;
		if (s.hits <= hits)
			continue;
		hits = s.hits;
		r->lambda = lambda;
		r->held_out = 100.0 * s.hits / MAX(s.count, 1);
		memcpy(best, w, f->params * sizeof(float));
	}
}

static void test(const struct fit *f, struct linear_result *r)
{
	const struct labelled *sets = f->sets;
	int classes = sets->classes;
	int64_t top1 = 0, top5 = 0;

#pragma omp parallel for reduction(+ : top1, top5)
	for (int64_t i = 0; i < sets->test_count; i += FIT_ROWS) {
		int rows = (int)MIN(FIT_ROWS, sets->test_count - i);
		float *z = xaligned((size_t)FIT_ROWS * classes * sizeof(float));

		fit_logits(f, sets->test + i * sets->dim, rows, z);
		for (int k = 0; k < rows; k++) {
			const float *row = z + (size_t)k * classes;
			int label = sets->test_label[i + k], above = 0;

			for (int c = 0; c < classes; c++)
				above += row[c] > row[label] || (row[c] == row[label] && c < label);
			top1 += above < 1;
			top5 += above < 5;
		}
		free(z);
	}
	r->top1 = 100.0 * top1 / sets->test_count;
	r->top5 = 100.0 * top5 / sets->test_count;
}

/* SMALL training samples, drawn by key from all; the copies are the caller's to free. */
static void draw_few(const struct labelled *sets, struct labelled *few, float **x, int32_t **label)
{
	*x = xaligned(SMALL * sets->dim * sizeof(float));
	*label = xcalloc(SMALL, sizeof(**label));
	for (uint32_t i = 0; i < SMALL; i++) {
		uint32_t at = rng_permute(0, 0, RNG_PROBE, (uint32_t)sets->train_count, i);

		memcpy(*x + i * sets->dim, sets->train + at * sets->dim, sets->dim * sizeof(float));
		(*label)[i] = sets->train_label[at];
	}
	*few = *sets;
	few->train = *x;
	few->train_label = *label;
	few->train_count = SMALL;
}

/* best (params) receives weights to start the last fit from. */
static void choose_on(const struct labelled *sets, int folds, float *best, struct linear_result *r)
{
	struct fit f;
	float *w;

	fit_init(&f, sets);
	w = xaligned(folds * f.params * sizeof(float));
	choose(&f, folds, w, best, r);
	free(w);
	fit_release(&f);
}

/* On many samples lambda is chosen on a few; their number times lambda, scikit-learn's 1/C, is what carries over. */
static void choose_lambda(const struct labelled *sets, float *best, struct linear_result *r)
{
	int64_t products = sets->train_count * sets->dim * sets->classes;
	struct labelled few;
	int32_t *label;
	float *x;

	if (sets->train_count <= SMALL) {
		choose_on(sets, products <= LIGHT ? FIT_FOLDS : 1, best, r);
		return;
	}
	draw_few(sets, &few, &x, &label);
	choose_on(&few, 1, best, r);
	r->lambda *= (double)SMALL / sets->train_count;
	free(x);
	free(label);
}

void linear_run(const struct labelled *sets, double lambda, struct linear_result *r)
{
	float *best = xaligned((sets->dim + 1) * sets->classes * sizeof(float));
	struct fit f;

	*r = (struct linear_result){ .lambda = lambda };
	if (lambda == 0)
		choose_lambda(sets, best, r);
	fit_init(&f, sets);
	fit_run(&f, best, r->lambda, -1);
	fit_use(&f, best);
	test(&f, r);
	r->c = 1 / (r->lambda * sets->train_count * (double)f.scale * f.scale);
	free(best);
	fit_release(&f);
}
