/*
 * nearest.h - the k largest scores of a long stream, kept in a heap
 *
 * A heap holds the k best (score, index) seen so far, the worst on top. Of equal scores the lower index is better. Scores
 * come in runs x[j] * scale[j] + shift[j]; a vector loop passes over runs of 64 that hold nothing good enough, which
 * soon are nearly all.
 *
 *	nearest_clear(&h);                                h.k and h.items given by the caller
 *	nearest_offer(&h, x, scale, shift, n, first);     indices first .. first+n-1
 *	nearest_sort(&h);                                 best first; the heap is done with
 */
#ifndef PROBE_NEAREST_H
#define PROBE_NEAREST_H

#include "lib/base/base.h"

struct near {
	float score;
	int32_t index;
};

struct nearest {
	struct near *items;   /* room for k */
	int k, count;
};

void nearest_clear(struct nearest *h);
void nearest_offer(struct nearest *h, const float *x, const float *scale, const float *shift, int n, int32_t first);
void nearest_sort(struct nearest *h);

#endif
