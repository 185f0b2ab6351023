/*
 * softmax.h - softmax of many queries over a large bank of keys, streamed: the logits are never all there
 *
 * For query row i (of n) and key row j (of k), both of unit length, with the logit s_ij = q_i . key_j / t and one logit of
 * its own, own_i / t (MoCo's positive, a teacher's own embedding), that competes with the bank:
 *
 *	lse_i   = log(exp(own_i / t) + sum_j exp(s_ij))
 *	mean_i  = sum_j p_ij value_j,  p_ij = exp(s_ij - lse_i)      the bank's share; the own slot's is exp(own_i / t - lse_i)
 *	above_i = number of j with q_i . key_j > own_i (or > rank_i)
 *
 * This is all that value and gradient of InfoNCE (He et al. 2020, eq. 1) and of SEED (Fang et al. 2021, eq. 4) need:
 * d lse_i / d q_i = (mean_i + p_own own key) / t with values = keys. One pass over the bank: running maximum and sum as in
 * Milakov & Gimelshein 2018 ("Online normalizer calculation for softmax"), the weighted mean rescaled when the maximum moves.
 *
 * A batch may be its own bank (NT-Xent, Chen et al. 2020; SupCon, Khosla et al. 2020): with others set, row i leaves out key i,
 * and what all rows' lse_i come to moves each row twice, as a query and as everybody's key:
 *
 *	d sum_i w_i lse_i / d q_i = sum_j (w_i p_ij + w_j p_ji) q_j / t
 *
 * Work is cut into tiles of rows and segments of the bank by the shapes alone, and segments are merged in order, so the result
 * does not depend on the number of threads. Room: a tile of logits a thread, and value_dim floats a row and segment
 * (n=256: 4 MB for dim 128; n=4096: 4 MB).
 *
 *	struct softmax *s = softmax_new(256, 65536, 128, 128);
 *	softmax_run(s, q, own, queue, queue, 0.2);
 *	loss = s->lse[0] - own[0] / 0.2;                               row 0
 *	softmax_free(s);
 */
#ifndef LOSS_SOFTMAX_H
#define LOSS_SOFTMAX_H

#include "lib/base/base.h"

struct softmax {
	int n, k, dim, value_dim;
	bool others;      /* the keys are the queries: none meets itself */
	const float *rank;   /* (n): what above is counted by where it is not own; NULL: it is */
	bool cosines;     /* cosine is wanted */
	double *lse;      /* (n) */
	float *mean;      /* (n, value_dim) */
	int *above;       /* (n) */
	double *cosine;   /* (n): sum_j p_ij q_i . key_j, where nothing competes with the bank or is left out */
	/* inner */
	int segments, threads;
	float *logits;    /* (threads, tile) */
	float *partial;   /* (segments, n, value_dim), not yet divided by the sum */
	float *peak;      /* (segments, n): largest q . key */
	double *sum;      /* (segments, n): of exp((q . key - peak) / t) */
	double *below;    /* (segments, n): of q . key - peak, weighed by that */
	int *count;       /* (segments, n) */
};

/* For the number of threads set before (threads_set). */
struct softmax *softmax_new(int n, int k, int dim, int value_dim);
void softmax_free(struct softmax *s);
/* Adds to d (n, dim) the gradient of sum_i weight_i lse_i for q, after a run with others; weight (n). */
void softmax_mutual(const struct softmax *s, const float *q, const float *weight, double t, float *d);
/* q (n, dim), own (n) or NULL: none competes with the bank; keys (k, dim), values (k, value_dim), t > 0. value_dim may be 0. */
void softmax_run(struct softmax *s, const float *q, const float *own, const float *keys, const float *values, double t);

#endif
