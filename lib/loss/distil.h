/*
 * distil.h - a student's distribution over a bank brought to a teacher's: what SEED and CompRess share
 *
 *	y = softmax over a bank of the teacher's similarities,   z = the same of the student's,   -sum_j y_j log z_j
 *	  = lse_z - u(q).m / t,    m = sum_j y_j key_j           gradient for u(q):  (sum_j z_j key_j - m) / t
 *
 * A slot of its own, of the teacher's row, may come before the bank; it is the student's then, too.
 */
#ifndef LOSS_DISTIL_H
#define LOSS_DISTIL_H

#include "lib/loss/loss.h"
#include "lib/loss/queue.h"
#include "lib/loss/softmax.h"
#include "lib/loss/unit.h"

struct distil {
	int rows, dim, wide;           /* dim: of the student and its bank; wide: of the teacher and its own */
	float *q, *t, *norm;           /* unit rows (rows, dim), (rows, wide); norm of q */
	float *own, *mean;             /* (rows); (rows, dim): m */
	struct softmax *teacher, *student;
};

struct distil *distil_new(int rows, int k, int dim, int wide);
void distil_free(struct distil *x);
/* Unit rows of student and teacher, from row at on. */
void distil_read(struct distil *x, int at, const struct tensor *q, const struct tensor *t);
/* m from the teacher's bank (k, wide) and the values (k, dim) that stand for its rows; own: NULL, or the slot's cosine. */
void distil_targets(struct distil *x, const float *keys, const float *values, const float *own, double t);
/* The mean cross-entropy, and its gradient for the rows of q as they were, into d (rows, dim); own: NULL, or the slot's. */
double distil_match(struct distil *x, const float *keys, const float *own, double t, float *d);

#endif
