/*
 * statistics.h - how batch statistics become running ones: one law for training, keys and the calibration of an evaluation
 *
 * A batch that is normalised in groups (the parts of a step, the groups of a calibration) has as many means and variances.
 * Running ones move by their mean over the groups, whatever the number of groups (as PyTorch's of one device, were each group a
 * batch):
 *
 *	running = (1-m) * running + m * mean over groups
 *
 *	struct statistics s = statistics_new(net_buffers(net));
 *	net_forward(net, pass, params, s.group, views, rows, PASS_TRAIN);   of each group in turn, then:
 *	statistics_add(&s);
 *	statistics_move(&s, NULL, 0.1, running);                           after the last group; s is as new
 *
 * Groups may be spread over ranks, which say how numbers are summed over all of them.
 */
#ifndef NN_STATISTICS_H
#define NN_STATISTICS_H

#include "lib/nn/engine/net.h"

/* What works on one step together; count 0 or 1: nobody else. */
struct ranks {
	int count;
	int first, batch;        /* rows of the whole step: which of them is this one's first, and how many there are */
	/* Over all ranks, the same for each; all call it in one order. */
	void (*sum)(void *with, float *values, int64_t count);
	void *with;
};

struct statistics {
	int64_t count;           /* of means and variances */
	float *group;            /* of the group at hand */
	double *sum;             /* over the groups so far */
	int groups;
	const bool *still;       /* which of them are frozen; NULL: none */
};

struct statistics statistics_new(int64_t count);
/* Which of n buffers of a net are frozen, to be freed; NULL: none. */
bool *statistics_still(const struct net_tensor *tensors, int count, int64_t n);
void statistics_release(struct statistics *s);
/* Where a pass is to put those of the group at hand; of those that are frozen the running ones are there already. */
float *statistics_group(const struct statistics *s, const float *running);
void statistics_add(struct statistics *s);
/* m: momentum in (0, 1]; with 1, running ones are forgotten. What is frozen stays. ranks: NULL: one; each has added as many
 * groups. */
void statistics_move(struct statistics *s, const struct ranks *ranks, double m, float *running);

#endif
