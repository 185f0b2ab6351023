/*
 * trainer.h - the trained network and its momentum encoder: weights, optimiser, one training step
 *
 * A step, in MoCo's order (He et al. 2020, Algorithm 1; main_moco.py), part by part (parts.h):
 *
 *	trainer_begin(t, step);                                       masks are drawn by it
 *	trainer_query(t, 0, part, rows of view0, count);              for every part in turn
 *	q = trainer_output(t, 0, part, OUTPUT_HEAD);                  (count, width)
 *	trainer_move_key(t);                                          key = m*key + (1-m)*query: before k is computed
 *	k = trainer_key(t, 1, group, rows of view1, count);           (count, dim), for every key group in turn
 *	... the loss answers with d_q ...
 *	trainer_query_again(t, 0, part, rows of view0, count);        for every part in turn
 *	trainer_backward(t, 0, part, (const float *[OUTPUTS]){ [OUTPUT_HEAD] = d_q of these rows });
 *	if (trainer_update(t, step) < 0) ...                          optimiser; refuses non-finite gradients
 *
 * Unless told to stream, the activations of every part are kept, and trainer_query_again() computes nothing. With stream there
 * is memory for one part: the second forward pass computes the same bytes again, moves no statistics, and the gradient follows.
 * Either way the same calls work on the same rows in the same order: a run's bytes do not depend on it.
 *
 * Views may differ in size: each size has a plan of the one network.
 *
 * What is frozen (net.h) stays byte for byte; the momentum encoder has it in common with the network, frozen statistics, too.
 *
 * Several trainers may share a run as ranks, each with the same weights and its own rows of every step (of the loss's gradients
 * too, which the loss has divided by the whole batch): gradients are then added, statistics averaged over all ranks' parts, by
 * the sum that the configuration names; so all ranks' weights and statistics stay equal.
 *
 * Everything that a resumed run needs is listed by trainer_collect() and read back by trainer_load().
 */
#ifndef NN_TRAINER_H
#define NN_TRAINER_H

#include "lib/nn/engine/meter.h"
#include "lib/nn/train/ema.h"
#include "lib/nn/train/optimiser.h"
#include "lib/nn/train/statistics.h"
#include "lib/nn/weights/model.h"

#define TRAINER_VIEWS 16

struct trainer_config {
	struct net_config net;
	int sizes[TRAINER_VIEWS][2];   /* height and width of each view; 0: the network's */
	int parts;                /* of a step, each normalised by its own statistics; at least 1 */
	double bn_momentum;       /* of the running statistics; 0: the architecture's own */
	bool stream;              /* keep the activations of one part, not of all */
	struct choice optim, schedule;
	double clip;              /* gradients of a greater norm are scaled down to it; 0: never */
	struct ema ema;           /* of the momentum encoder */
	bool ema_buffers;         /* its running statistics are averaged as its parameters are; else its own, as in MoCo's code */
	struct ranks ranks;
	uint64_t seed;
	int batch;                /* rows of a step; of several ranks, its own */
	int64_t steps_per_epoch;
	double epochs;            /* of the whole run: what the schedule sees */
	bool meter;               /* whether to say where the time goes */
};

/* The network for views of one size. */
struct sized {
	int height, width;
	struct plan *plan;
	struct factors *factors, *key_factors;   /* shared by the passes */
	struct pass *query, *key;                /* query: of all parts in turn, with stream */
};

struct trainer {
	struct trainer_config c;
	struct net *net;
	struct sized sizes[TRAINER_VIEWS + 1];  /* the first is view 0's; the last has no plan */
	struct sized *size_of[TRAINER_VIEWS];   /* of a view */
	struct optimiser optim;
	struct meter *meter;                /* NULL unless asked for; the caller adds what it waits for, and ends the steps */
	float *params, *buffers, *grads;
	float *key_params, *key_buffers;    /* NULL until a key is asked for */
	struct pass **query;                /* (views, parts), without stream */
	int64_t step;                       /* in hand */
	struct statistics statistics[2][TRAINER_VIEWS];   /* BN's, of queries, of keys */
	bool *still;                        /* which of the buffers are frozen; NULL: none */
	double unsettled;                   /* trainer_unsettled() before the first step: 1, unless weights are loaded */
};

/* Lays out the network, plans it for all views' sizes, and draws its weights from the seed. -1 after fail(). */
int trainer_init(struct trainer *t, const struct trainer_config *c);
void trainer_release(struct trainer *t);

/* The step that the calls below belong to. */
void trainer_begin(struct trainer *t, int64_t step);
/* The trained network on a part of one view, by statistics of that part. After the last part running statistics move by the mean
 * over the parts. */
void trainer_query(struct trainer *t, int view, int part, const uint8_t *views, int rows);
/* What it gave, (rows, width); valid until the next call of either query (with stream, of any view and part of that size, else of
 * the same); NULL: it has no such output. */
const float *trainer_output(const struct trainer *t, int view, int part, enum output output);
/* The momentum encoder starts as a copy of the parameters when first moved, its running statistics at 0 and 1, as in MoCo's
 * code; where they are averaged, as copies too. */
void trainer_move_key(struct trainer *t);
/* Head of the momentum encoder on a key group of one view; valid until the next call. */
const float *trainer_key(struct trainer *t, int view, int group, const uint8_t *views, int rows);
/* The query once more, as trainer_backward() needs it just before. */
void trainer_query_again(struct trainer *t, int view, int part, const uint8_t *views, int rows);
/* Adds the gradient through one part of one view's query, given those of its outputs (NULL: none); the views given before must
 * still be there. */
void trainer_backward(struct trainer *t, int view, int part, const float *const d[OUTPUTS]);
double trainer_rate(const struct trainer *t, int64_t step);
/* Optimiser step with the summed gradients, which are cleared. -1 when they are not finite: nothing has moved then. */
int trainer_update(struct trainer *t, int64_t step);
/* In force: the network's own unless another is given. */
double trainer_bn_momentum(const struct trainer *t);
/* Share that the values before training still have in the running statistics after so many steps of one view; 0 without any. */
double trainer_unsettled(const struct trainer *t, int64_t step);
/* Refuses a state that nothing can go on from: numbers that are not finite, or weights beyond 1e9. */
int trainer_check(const struct trainer *t);

/* All tensors of the state: model.*, key.*, optim.SLOT.*; at most trainer_count(). staging: trainer_staging() bytes. */
int trainer_count(const struct trainer *t);
size_t trainer_staging(const struct trainer *t);
int trainer_collect(const struct trainer *t, float *staging, struct tensor *tensors);
int trainer_load(struct trainer *t, const struct tensors *f, const char *path);

#endif
