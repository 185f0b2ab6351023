/*
 * optimiser.h - optimisers over all parameters at once, clipping, learning-rate schedules
 *
 * With w a tensor of the network, g its gradient (scaled by the clip below), wd the weight decay, all f32, state from zero:
 *
 *	sgd      torch.optim.SGD without dampening:
 *	             d = g + wd*w;  v = momentum*v + d;  w -= lr * (nesterov ? d + momentum*v : v)
 *	lars     You, Gitman, Ginsburg, "Large Batch Training of Convolutional Networks" (2017), in the form of MoCo v3's code
 *	         (moco/optimizer.py), SimCLR and BYOL, where the norm is that of the decayed gradient and lr stays outside of v:
 *	             d = g + wd*w;  d *= trust * |w|/|d| (1 where either norm is 0);  v and w as in sgd
 *	adamw    torch.optim.AdamW (Loshchilov, Hutter, "Decoupled Weight Decay Regularization", 2019), t = 1, 2, ...:
 *	             m = beta1*m + (1 - beta1)*g;  v = beta2*v + (1 - beta2)*g*g
 *	             w -= lr*wd*w + lr/(1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps)
 *
 * Each takes lr, wd, and
 *	nodecay=1     wd = 0 for norm and bias parameters (net_tensor.norm_or_bias); lars, where that is the default, does not
 *	              adapt them either: d = g
 *	per=N         lr is meant for N images a batch and grows with the batch: lr * batch/N ("linear scaling"); 0: lr as it is
 *
 * Clipping is torch.nn.utils.clip_grad_norm_: all gradients times min(1, clip / (norm + 1e-6)), norm over all of them.
 *
 *	struct optimiser o;
 *	n = net_tensors(net, &tensors);
 *	optimiser_init(&o, &choice, 1.0, tensors, n);          "adamw:lr=1e-3,nodecay=1", norm of the gradient at most 1
 *	rate = schedule_rate(&schedule, optimiser_rate(&choice, batch), step, steps_per_epoch, epochs);
 *	if (!isfinite(optimiser_step(&o, rate, step, params, grads))) ...          nothing has moved
 *	optimiser_release(&o);
 *
 * Norms are sums in f64 over fixed slices, added in their order: the same on any number of threads.
 */
#ifndef NN_OPTIM_H
#define NN_OPTIM_H

#include "lib/base/options.h"
#include "lib/nn/engine/net.h"

#define OPTIM_SLOTS 2

struct optimiser;

/* A row: "sgd:lr=0.06,momentum=0.9,wd=5e-4". */
struct optim {
	struct entry entry;
	int slots;                              /* state vectors of the parameters' size */
	const char *slot_names[OPTIM_SLOTS];    /* their names in the checkpoint */
	/* One step; scale: of the gradient, from clipping; step counts from 0. */
	void (*step)(struct optimiser *o, double lr, double scale, int64_t step, float *w, const float *g);
};
extern const struct table optimiser_table;

/* An optimiser at work on the flat parameters of a net. */
struct optimiser {
	struct choice choice;
	double clip;                            /* 0: off */
	float *slots[OPTIM_SLOTS];              /* of the row's slots, for the checkpoint; the rest NULL */
	struct slice *slices;                   /* private: the parameters cut for threads and norms */
	int count, tensors;
	double *sums;                           /* private: (2, count) */
	float *trust;                           /* private: (tensors) */
};

/* tensors: of the net; buffers and frozen ones are passed over: no decay, no momentum, no part of the norm. A tensor's lr is the
 * step's times its rate. */
void optimiser_init(struct optimiser *o, const struct choice *c, double clip, const struct net_tensor *tensors, int count);
void optimiser_release(struct optimiser *o);
const struct optim *optimiser_row(const struct optimiser *o);
/* lr of the choice for this batch size. */
double optimiser_rate(const struct choice *c, int batch);
/* Moves w at the rate lr; step counts from 0. Returns the norm of g before clipping: where it is not finite nothing has moved. */
double optimiser_step(struct optimiser *o, double lr, int64_t step, float *w, const float *g);

/* "cosine:warmup=10,after=1", "step:at=60+80,factor=0.1", "constant". Per epoch by default (as MoCo's code),
 * by=step for every step. */
struct schedule {
	struct entry entry;
	double (*factor)(const struct choice *c, double progress_epochs, double epochs);
};
extern const struct table schedule_table;
/* Refuses texts that the parameters of a schedule cannot mean. -1 after fail() with EXIT_USAGE. */
int schedule_check(const struct choice *schedule);
/* Learning rate of a step: base rate times the schedule's factor; warmup epochs of equal steps up to the base rate come first.
 * epochs: of the whole run. */
double schedule_rate(const struct choice *schedule, double base, int64_t step, int64_t steps_per_epoch, double epochs);

#endif
