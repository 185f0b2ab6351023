/*
 * metrics.h - alignment, uniformity and instance discrimination of features (Shi et al. 2022; Wang & Isola 2020)
 *
 * D is the evaluation picture of a sample (view 0), SD its augmented ones (views 1 and 2). Features are scaled to unit length.
 *
 * alignment                mean_i |x_i - y_i|^2: D-SD (views 0, 1) and SD-SD (views 1, 2). Lower: closer.
 * intra-class alignment    for each class the mean over all pairs i < j of |x_i - x_j|^2, then the mean over classes with a pair.
 * uniformity               log of the mean over pairs i < j of exp(-2 |x_i - x_j|^2), in each of three disjoint sets of 128
 *                          samples, then the mean of the three. Set s holds samples rng_permute(0, 0, RNG_PROBE, n, 128 s + i),
 *                          i = 0..127.
 *                          Fewer than 384 samples: as many full sets as there are; fewer than 128: all samples. Lower: more even.
 * instance discrimination  d-sd: query view 0, positive view 1 of the same sample; sd-sd: query view 1, positive view 2. The
 *                          positive competes with all other samples' query-side vectors; a hit at k is a positive that fewer
 *                          than k of them outrank. Per cent for k = 1..5, the mean over classes.
 *
 *	const float *x[3] = { d, sd1, sd2 };
 *	struct metrics m;
 *	metrics_run(x, 3, 5000, 512, label, &m);
 */
#ifndef PROBE_METRICS_H
#define PROBE_METRICS_H

#include "lib/probe/features.h"

enum { METRICS_TOP = 5 };

struct metrics {
	int classes;                           /* that have a sample */
	double uniformity[2];                  /* of D, SD */
	double intra_class[2];                 /* of D, SD; NAN when no class has two samples or labels are unknown */
	double alignment[2];                   /* D-SD, SD-SD */
	double discrimination[2][METRICS_TOP]; /* d-sd, sd-sd; per cent */
};

/* x[v] (n, dim), views of them: what needs a view that is not there is NAN. label (n); unknown ones (-1) count as one class in
 * instance discrimination. n >= 2. */
void metrics_run(const float *const *x, int views, int64_t n, int64_t dim, const int32_t *label, struct metrics *m);

#endif
