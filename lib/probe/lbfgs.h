/*
 * lbfgs.h - minimises a smooth convex function: L-BFGS (Nocedal & Wright 2006, algorithm 7.4) with a preconditioner
 *
 * The first guess of the inverse Hessian is the caller's, scaled by the newest pair; steps are halved until the value
 * falls by Armijo's rule. Vectors are f32, sums f64.
 *
 *	struct lbfgs *m = lbfgs_new(n, value, precondition, arg);
 *	lbfgs_run(m, x, 100, 1e-7);                     x holds the start, then the minimum; may be called again
 *	lbfgs_free(m);
 */
#ifndef PROBE_LBFGS_H
#define PROBE_LBFGS_H

#include "lib/base/base.h"

/* Value at x (n); fills gradient (n). */
typedef double lbfgs_value(void *arg, const float *x, float *gradient);
/* v (n) := B v with B roughly the inverse Hessian, symmetric and positive definite. */
typedef void lbfgs_precondition(void *arg, float *v);

struct lbfgs;
struct lbfgs *lbfgs_new(int64_t n, lbfgs_value *value, lbfgs_precondition *precondition, void *arg);
void lbfgs_free(struct lbfgs *m);
/* Ends after iterations, or when a step improves the value by less than tolerance times itself. Returns the value at x. */
double lbfgs_run(struct lbfgs *m, float *x, int iterations, double tolerance);

#endif
