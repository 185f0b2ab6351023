#include "lib/nn/optim.h"
#include "lib/nn/kernels.h"

#include <math.h>

/* Slices of a flat vector for threads: big enough to be worth it, starting on cache lines. */
#define SLICE 65536

/* A machine without the asked-for loops was refused by net_new(), so there is always a set here. */
static const struct kernels *kernels(void)
{
	const struct kernels *k = kernels_find();

	if (!k)
		bug("%s", why());
	return k;
}

static void sgd_step(const struct choice *c, double lr, int64_t step, int64_t n, float *w, const float *g, float *const *slots)
{
	const struct kernels *k = kernels();
	float momentum = (float)choice_value(c, "momentum"), wd = (float)choice_value(c, "wd");
	bool nesterov = choice_value(c, "nesterov") != 0;

#pragma omp parallel for schedule(static)
	for (int64_t i = 0; i < n; i += SLICE)
		k->sgd(MIN(SLICE, n - i), (float)lr, momentum, wd, nesterov, step == 0, w + i, g + i, slots[0] + i);
}

void ema_update(int64_t n, double m, const float *query, float *key)
{
	const struct kernels *k = kernels();

#pragma omp parallel for schedule(static)
	for (int64_t i = 0; i < n; i += SLICE)
		k->ema(MIN(SLICE, n - i), (float)m, query + i, key + i);
}

static const struct param sgd_params[] = {
	{ "lr", 0.03, 0, 1000, "learning rate at the schedule's full height", NULL },
	{ "momentum", 0.9, 0, 1, "share of the last step's direction kept", NULL },
	{ "wd", 1e-4, 0, 1, "weight decay, added to the gradient", NULL },
	{ "nesterov", 0, 0, 1, "1: Nesterov's momentum", NULL },
	{ NULL, 0, 0, 0, NULL, NULL }
};

static const struct optim optims[] = {
	{ { "sgd", "stochastic gradient descent with momentum", sgd_params }, 1, { "momentum", NULL }, sgd_step },
};
const struct table optim_table = TABLE("optimiser", optims);
