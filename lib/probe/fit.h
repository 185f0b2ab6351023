/*
 * fit.h - one multinomial logistic regression: its value, its gradient, and the weights that make it least
 *
 *	minimise over W (classes, dim), b (classes):   mean over training samples of -log softmax(W z + b)[label] + lambda/2 |W|^2
 *
 * where z = (x - mean) / scale, scale^2 = mean squared length of x - mean. A keyed draw deals the training samples into
 * FIT_FOLDS parts, of which one may be left out and scored instead.
 *
 * The solver is L-BFGS preconditioned by (cov/2 + ridge)^-1, Boehning's bound of the Hessian (1992, "Multinomial logistic
 * regression algorithm"). Results do not depend on the number of threads.
 *
 *	struct fit f;
 *	fit_init(&f, &sets);
 *	struct score s = fit_run(&f, w, 1e-3, 0);          w (f.params): to start from, then the least; s: of part 0
 *	fit_use(&f, w);
 *	fit_logits(&f, x, rows, z);                        z (rows, classes)
 *	fit_release(&f);
 */
#ifndef PROBE_FIT_H
#define PROBE_FIT_H

#include "lib/probe/features.h"

enum {
	FIT_CHUNKS = 16,               /* of the training samples: gradients are summed in this order on any number of threads */
	FIT_FOLDS = 5,
	FIT_ROWS = 64,                 /* samples of a product */
};

struct score {
	int64_t hits, count;
	double loss;                   /* sum of -log p */
};

struct fit {
	const struct labelled *sets;
	int64_t params;                /* dim * classes weights (dim, classes), then classes biases */
	float *mean, scale;            /* (dim) */
	float *cov, *factor;           /* (dim, dim), lower triangles: of z, and Cholesky's of h cov + lambda */
	uint8_t *fold;                 /* (train_count): 0 .. FIT_FOLDS-1 */
	int left_out;                  /* fold that is scored, not fitted; -1: none */
	double lambda;
	float *raw;                    /* (params): weights and biases for features as they are */
	float *partial;                /* (FIT_CHUNKS, params): gradients for raw */
	double loss[FIT_CHUNKS];
	double curvature[FIT_CHUNKS];      /* sum of p (1 - p) over samples and classes */
	struct score held[FIT_CHUNKS];
	struct lbfgs *solver;
};

/* sets: must stay. */
void fit_init(struct fit *f, const struct labelled *sets);
void fit_release(struct fit *f);
/* Fits all parts but one; left_out -1: all of them, and more closely. The score is that of the part left out. */
struct score fit_run(struct fit *f, float *w, double lambda, int left_out);
/* Weights for z = (x - mean) / scale turned into weights for x, f->raw. */
void fit_use(struct fit *f, const float *w);
/* Logits of rows of x for the weights in f->raw. */
void fit_logits(const struct fit *f, const float *x, int rows, float *z);

#endif
