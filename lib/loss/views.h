/*
 * views.h - objectives of two views, q0 and q1, that are contrasted with each other and no memory: 2N rows, q0's first
 *
 *	views_read(o);                        unit rows into u, gradients d to zeros
 *	... weight[i] of row i in the loss, rank[i] the cosine that its rank is counted by ...
 *	views_contrast(o, t);                 softmax->lse and above; d += the gradient of sum_i weight_i lse_i for u
 *	... d -= what pulls ...
 *	views_give(o);                        back through the unit length, to the inputs' gradients
 */
#ifndef LOSS_VIEWS_H
#define LOSS_VIEWS_H

#include "lib/loss/loss.h"
#include "lib/loss/softmax.h"
#include "lib/loss/unit.h"

struct views {
	int rows, dim;                 /* 2N */
	float *u, *norm, *d, *pull;    /* (rows, dim), norm (rows); pull is the loss's own */
	float *weight, *own, *rank;    /* (rows) */
	struct softmax *softmax;
};

/* 0, or -1 after fail(): inputs 0 and 1 are of one width. */
int views_prepare(struct objective *o);
void views_release(struct objective *o);
void views_read(struct objective *o);
void views_contrast(struct objective *o, double t);
void views_give(struct objective *o);

#endif
