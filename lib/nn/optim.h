/*
 * optim.h - optimisers on flat vectors, learning-rate schedules, EMA
 *
 * PyTorch's definitions (torch.optim.SGD: d = g + wd*w; v = m*v + d, v = d at the first step; w -= lr*v).
 */
#ifndef NN_OPTIM_H
#define NN_OPTIM_H

#include "lib/base/options.h"

/* "sgd:lr=0.06,momentum=0.9,wd=5e-4"; slots: how many state vectors of the parameters' size it keeps (names for the checkpoint). */
struct optim {
	struct entry entry;
	int slots;
	const char *slot_names[2];
	/* One step with the rate lr; step counts from 0. */
	void (*step)(const struct choice *c, double lr, int64_t step, int64_t n, float *w, const float *g, float *const *slots);
};
extern const struct table optim_table;

/* "cosine:warmup=0", "step:at=60+80,factor=0.1", "constant". Per epoch by default (as MoCo's code), by=step for every step. */
struct schedule {
	struct entry entry;
	double (*factor)(const struct choice *c, double progress_epochs, double epochs);
};
extern const struct table schedule_table;
/* Refuses texts that the parameters of a schedule cannot mean. -1 after fail() with EXIT_USAGE. */
int schedule_check(const struct choice *schedule);
/* Learning rate of a step: base rate times the schedule's factor. epochs: of the whole run. */
double schedule_rate(const struct choice *schedule, double base, int64_t step, int64_t steps_per_epoch, double epochs);

/* key = m*key + (1-m)*query, elementwise. */
void ema_update(int64_t n, double m, const float *query, float *key);

#endif
