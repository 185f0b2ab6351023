/*
 * tsne.h - t-SNE into a plane (van der Maaten & Hinton 2008), by Barnes and Hut's tree (van der Maaten 2014)
 *
 * As scikit-learn does it: exact neighbours, early exaggeration for 250 steps with momentum 0.5, then momentum 0.8, a gain for
 * each coordinate, the learning rate n / exaggeration / 4 but at least 50 (Belkina et al. 2019). The divergence that is reported
 * is exact: the sum over all pairs, without the tree.
 *
 *	struct tsne t = { .perplexity = 30, .exaggeration = 12, .theta = 0.5, .steps = 1000 };
 *	kl = tsne_run(&t, x, n, 50, y);
 *
 * Results do not depend on the number of threads.
 */
#ifndef PROBE_TSNE_H
#define PROBE_TSNE_H

#include "lib/base/base.h"

struct tsne {
	double perplexity, exaggeration;
	double rate;                   /* 0: by n */
	double theta;                  /* 0: exact, in the time of all pairs */
	int steps;
};

/* x (n, dim); y (2, n): where to start, and then the points. 1 <= perplexity < n - 1. Returns the divergence, in nats. */
double tsne_run(const struct tsne *t, const float *x, int64_t n, int64_t dim, float *y);

#endif
