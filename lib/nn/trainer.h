/*
 * trainer.h - the trained network and its momentum encoder: weights, optimiser, one training step
 *
 * A step, in MoCo's order (He et al. 2020, Algorithm 1; main_moco.py):
 *
 *	q = trainer_query(t, 0, view0, rows);            (rows, dim), kept for backward
 *	trainer_move_key(t);                             key = m*key + (1-m)*query: before k is computed
 *	trainer_key(t, 1, view1, rows, step, k);         (rows, dim) copied out
 *	... the loss answers with d_q ...
 *	trainer_backward(t, 0, d_q);
 *	if (trainer_update(t, step) < 0) ...             optimiser; refuses non-finite gradients
 *
 * Everything that a resumed run needs is listed by trainer_collect() and read back by trainer_load().
 */
#ifndef NN_TRAINER_H
#define NN_TRAINER_H

#include "lib/nn/model.h"
#include "lib/nn/optim.h"

#define TRAINER_VIEWS 8

struct trainer_config {
	struct net_config net;
	struct choice optim, schedule;
	double clip;              /* gradients of a greater norm are scaled down to it; 0: never */
	double ema;               /* m of the momentum encoder */
	uint64_t seed;
	int batch;
	int64_t steps_per_epoch;
	double epochs;            /* of the whole run: what the schedule sees */
};

struct trainer {
	struct trainer_config c;
	struct net *net;
	struct optimiser optim;
	float *params, *buffers, *grads;
	float *key_params, *key_buffers;    /* NULL until a key is asked for */
	struct pass *query[TRAINER_VIEWS], *key;
	int32_t *order;
};

/* Compiles the network and draws its weights from the seed. -1 after fail(). */
int trainer_init(struct trainer *t, const struct trainer_config *c);
void trainer_release(struct trainer *t);

/* Head of the trained network on one view, batch statistics; valid until the next call for the same view. */
const float *trainer_query(struct trainer *t, int view, const uint8_t *views, int rows);
const float *trainer_feature(const struct trainer *t, int view);
/* The momentum encoder starts as a copy of the network when first moved. */
void trainer_move_key(struct trainer *t);
/* Head of the momentum encoder on one view; the batch is permuted by (seed, step, view) before it is split for BN. */
void trainer_key(struct trainer *t, int view, const uint8_t *views, int rows, int64_t step, float *out);
/* Adds the gradient through one view's query. */
void trainer_backward(struct trainer *t, int view, const float *d_q);
double trainer_rate(const struct trainer *t, int64_t step);
/* Optimiser step with the summed gradients, which are cleared. -1 when they are not finite: nothing has moved then. */
int trainer_update(struct trainer *t, int64_t step);

/* All tensors of the state: model.*, key.*, optim.SLOT.*; at most trainer_count(). staging: trainer_staging() bytes. */
int trainer_count(const struct trainer *t);
size_t trainer_staging(const struct trainer *t);
int trainer_collect(const struct trainer *t, float *staging, struct tensor *tensors);
int trainer_load(struct trainer *t, const struct safetensors *f, const char *path);

#endif
