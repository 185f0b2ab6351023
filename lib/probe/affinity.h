/*
 * affinity.h - how much samples belong together: the P of t-SNE (van der Maaten 2014, "Accelerating t-SNE using tree-based
 * algorithms", section 4.1)
 *
 * p(j|i) falls as a Gaussian with the distance of i to its 3 * perplexity + 1 nearest samples, found exactly; its width is such
 * that the entropy of each i is the logarithm of the perplexity. P is the mean of both directions over n: symmetric, of sum 1,
 * sparse.
 *
 *	struct affinity a;
 *	affinity_make(&a, x, n, 50, 30);
 *	affinity_pull(&a, y, force);
 *	affinity_release(&a);
 *
 * Results do not depend on the number of threads.
 */
#ifndef PROBE_AFFINITY_H
#define PROBE_AFFINITY_H

#include "lib/base/base.h"

struct affinity {
	int64_t n;
	int64_t *start;                /* (n + 1): of row i in the next two */
	int32_t *other;                /* rising in a row */
	float *p;
};

/* x (n, dim); 1 <= perplexity < n - 1. */
void affinity_make(struct affinity *a, const float *x, int64_t n, int64_t dim, double perplexity);
void affinity_release(struct affinity *a);

/* With y (2, n) and q = 1 / (1 + |y_i - y_j|^2): force (2, n) = sum over j of p_ij q_ij (y_i - y_j). */
void affinity_pull(const struct affinity *a, const float *y, float *force);
/* The Kullback-Leibler divergence of Q = q / z from P, in nats; z: sum of q over all pairs i != j. */
double affinity_divergence(const struct affinity *a, const float *y, double z);

#endif
