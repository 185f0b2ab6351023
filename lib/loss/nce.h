/*
 * nce.h - InfoNCE of a batch of queries, each with a key of its own, against a queue that all share (He et al. 2020, eq. 1)
 *
 *	l(q, k) = lse(u(q).k/t, u(q).queue/t) - u(q).k/t                  k and queue of unit length
 *
 * and with targets that are not the key alone but sum_j y_j key_j, the share `rest` of them on others than the key:
 *
 *	l(q, k) = lse - ((1 - rest) u(q).k + u(q).others) / t,            others = sum over the queue of y_j key_j
 *
 *	nce_read(x, &query);
 *	nce_contrast(x, keys, queue, t, 0.5, NULL, 0, d);    x->loss grows by half the rows' sum, d is its mean's gradient
 */
#ifndef LOSS_NCE_H
#define LOSS_NCE_H

#include "lib/loss/softmax.h"
#include "lib/tensor/tensor.h"

struct nce {
	int rows, dim;
	struct softmax *softmax;
	float *q, *norm;          /* unit rows (rows, dim), their lengths before */
	float *own;               /* (rows): u(q_i) . k_i */
	const float *weight;      /* (rows): of a row in what follows; NULL: 1 */
	double loss;              /* sums over rows since nce_begin() */
	int64_t queries, first, five;   /* of which the own key ranked first, among the first five, of all K+1 */
};

struct nce *nce_new(int rows, int k, int dim);
void nce_free(struct nce *x);
void nce_begin(struct nce *x);
void nce_read(struct nce *x, const struct tensor *query);
/* keys (rows, dim), queue (k, dim); others (rows, dim) or NULL, with rest. d (rows, dim) is overwritten: share times the gradient
 * of the mean for the query as it was. */
void nce_contrast(struct nce *x, const float *keys, const float *queue, double t, double share, const float *others, double rest,
		  float *d);
/* top1, top5 in per cent. */
struct objective;
void nce_ranks(const struct nce *x, struct objective *o);

#endif
