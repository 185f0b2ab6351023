/*
 * walk.h - one thread's way over the nodes of a pass (private to lib/nn): forward, backward
 *
 * Every thread takes its images through all operations. Threads meet (a barrier) only where batch norm needs the column sums of
 * all: after a normalised node forward, after the last part of a normalised node's gradient backward. What follows from the
 * sums every thread computes for itself, after many have added up a share each. Sums and the parts of weight gradients have two
 * buffers used in turn: what was written before a meeting is read after it, and overwritten only after the next one.
 */
#ifndef NN_WALK_H
#define NN_WALK_H

#include "lib/nn/engine/engine.h"
#include "lib/nn/engine/meter.h"

/* A weight gradient that waits for the next meeting to be added up. */
struct pending {
	int node;
	int64_t at;              /* in the threads' partial buffers */
};

struct walk {
	struct task t;
	float *statistics, *grads;   /* as of net_forward() and net_backward() */
	int meetings;
	struct pending pending[NODES_MAX];
	int waiting;
	int64_t used;            /* of the partial buffer in turn */
};

/* Within a parallel region of the pass's threads. */
void walk_open(struct walk *w, struct pass *p, const float *params, float *statistics, float *grads);
void walk_to(struct walk *w, int node);        /* the node at work from now on */
void walk_meet(struct walk *w);
/* Where this thread's part of the weight's gradient goes: the first thread adds to the gradient itself. May meet. */
void walk_gradients(struct walk *w);
/* What this thread's time since its last word was spent on; METER_NODE: on the node at work. */
void walk_spent(const struct walk *w, enum meter_row row);

/* --- norm.c: batch norm; each thread does the same for itself --- */

/* Zeros the thread's column sums, which values and gradients of the node at work add to. */
void norm_open(const struct walk *w);
/* A meeting after which the sums of all threads are known. */
void norm_meet(struct walk *w);
/* Scale and shift of the node at work: from the sums (to be written to statistics too), or in PASS_EVAL and where they are frozen
 * from statistics; or its bias. */
void norm_scale(const struct walk *w);
void norm_bias(const struct walk *w);
/* From the column sums of the node in slot: gradients of gamma and beta, and what gradient_read() needs. */
void norm_settle(const struct walk *w, int node, int slot);
/* The same for a gated or pooled node at work: only now are the gradients of its gate and its mean known. */
void norm_settle_deferred(struct walk *w);

#endif
