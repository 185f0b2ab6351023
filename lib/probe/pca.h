/*
 * pca.h - principal components, exactly: eigenvectors of the covariance or, where that is smaller, of the samples' products
 *
 *	struct pca p;
 *	if (pca_run(x, 10000, 512, 50, &p) < 0)
 *		return -1;
 *	p.scores[50 * i], p.variance[0] / p.total
 *	pca_release(&p);
 *
 * Of each component the score that is largest in size is positive, as in scikit-learn. Results do not depend on the number of
 * threads.
 */
#ifndef PROBE_PCA_H
#define PROBE_PCA_H

#include "lib/base/base.h"

enum { PCA_SIDE = 4096 };              /* of the matrix whose eigenvectors are taken, at most: some minutes */

struct pca {
	float *scores;                 /* (n, dims): of samples less their mean */
	double *variance;              /* (dims), falling; divided by n - 1 */
	double total;                  /* variance of all components */
};

/* x (n, dim), n >= 2; 1 <= dims <= min(n, dim). Fails with EXIT_USAGE where both n and dim exceed PCA_SIDE. */
int pca_run(const float *x, int64_t n, int64_t dim, int dims, struct pca *p);
void pca_release(struct pca *p);

#endif
