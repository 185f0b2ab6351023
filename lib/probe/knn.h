/*
 * knn.h - nearest neighbours of every test sample among the training samples, and two classifiers made of them
 *
 * Weighted: the k nearest by cosine vote with exp(cosine / t) (Wu et al. 2018, "Unsupervised feature learning via non-parametric
 * instance discrimination", section 3.4). The class with the largest sum wins, the lower number when two are equal; a class
 * without a vote is never among the first five.
 * best-NN (Shi et al. 2022): Euclidean distance on the raw features, one vote a neighbour, every odd k of 1..101; the best k's
 * accuracy is reported (of the smallest such k), which is chosen on the test samples and so a little optimistic; that of a fixed
 * k stands beside it. Equal votes go to the lower class number. Equally near samples: the earlier one is nearer.
 *
 * Both read the same dot products, of rows less the training samples' mean, so that rows that nearly coincide keep their digits:
 * blocks of products, made by gemm and dropped once the block's queries have seen them.
 * Room: some megabytes a thread, whatever the number of samples. Results do not depend on the number of threads.
 *
 *	struct labelled sets = { train, 50000, train_label, test, 10000, test_label, 512, 10 };
 *	struct knn_result r;
 *	knn_run(&sets, 200, 0.1, 21, &r);
 *	r.top1                              per cent
 */
#ifndef PROBE_KNN_H
#define PROBE_KNN_H

#include "lib/probe/features.h"

enum { KNN_BEST = 101 };               /* largest k of best-NN */

struct knn_result {
	int k;                         /* asked for, or the number of training samples when that is smaller */
	double top1, top5;             /* weighted; per cent */
	int best_k, fixed_k;           /* as k */
	double best, fixed;            /* best-NN and the fixed k; per cent */
};

/* k >= 1, t > 0, fixed_k from 1 to KNN_BEST. */
void knn_run(const struct labelled *sets, int k, double t, int fixed_k, struct knn_result *r);

#endif
