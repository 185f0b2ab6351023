#include "lib/nn/train/optimiser.h"
#include "lib/nn/kernels/kernels.h"

#include <math.h>

/* Big enough to be worth a thread's turn. */
#define SLICE 65536

/* A piece of one tensor. */
struct slice {
	int64_t at, n;
	int tensor;
	bool norm_or_bias;
	double rate;
};

/* --- norms --- */

/* Squared norms of a*x + b*y, slice by slice. */
static void square(const struct optimiser *o, double *sums, double a, const float *x, double b, const float *y)
{
	const struct kernels *k = kernels_find(F32);

#pragma omp parallel for schedule(dynamic)
	for (int i = 0; i < o->count; i++)
		sums[i] = k->squares(o->slices[i].n, a, x + o->slices[i].at, b, y + o->slices[i].at);
}

static double total(const double *sums, int count)
{
	double sum = 0;

	for (int i = 0; i < count; i++)
		sum += sums[i];
	return sum;
}

/* Norm and bias parameters under nodecay=1: no decay, no trust ratio. */
static bool is_spared(const struct optimiser *o, const struct slice *s)
{
	return s->norm_or_bias && choice_value(&o->choice, "nodecay") != 0;
}

static double decay(const struct optimiser *o, const struct slice *s)
{
	return is_spared(o, s) ? 0 : choice_value(&o->choice, "wd");
}

/* --- the optimisers --- */

static void sgd_step(struct optimiser *o, double lr, double scale, int64_t step, float *w, const float *g)
{
	const struct kernels *k = kernels_find(F32);
	const struct choice *c = &o->choice;
	const struct sgd all = { .scale = (float)scale, .momentum = (float)choice_value(c, "momentum"),
		.nesterov = choice_value(c, "nesterov") != 0 };

	(void)step;
#pragma omp parallel for schedule(dynamic)
	for (int i = 0; i < o->count; i++) {
		const struct slice *s = &o->slices[i];
		struct sgd one = all;

		one.lr = (float)(lr * s->rate);
		one.wd = (float)decay(o, s);
		one.trust = o->trust[s->tensor];
		k->sgd(&one, s->n, w + s->at, g + s->at, o->slots[0] + s->at);
	}
}

/* The trust ratio of every tensor, then sgd's step. */
static void lars_step(struct optimiser *o, double lr, double scale, int64_t step, float *w, const float *g)
{
	double trust = choice_value(&o->choice, "trust"), *weights = o->sums, *updates = o->sums + o->count;
	int n;

	square(o, weights, 1, w, 0, w);
	square(o, updates, scale, g, choice_value(&o->choice, "wd"), w);
	for (int i = 0; i < o->count; i += n) {
		const struct slice *s = &o->slices[i];
		double weight, update;

		for (n = 1; i + n < o->count && s[n].tensor == s->tensor; n++)
			continue;
		weight = sqrt(total(weights + i, n));
		update = sqrt(total(updates + i, n));
		o->trust[s->tensor] = is_spared(o, s) || weight == 0 || update == 0 ? 1 : (float)(trust * weight / update);
	}
	sgd_step(o, lr, scale, step, w, g);
}

static void adamw_step(struct optimiser *o, double lr, double scale, int64_t step, float *w, const float *g)
{
	const struct kernels *k = kernels_find(F32);
	const struct choice *c = &o->choice;
	double beta1 = choice_value(c, "beta1"), beta2 = choice_value(c, "beta2"), t = (double)step + 1;
	const struct adamw all = { .scale = (float)scale, .beta1 = (float)beta1, .rest1 = (float)(1 - beta1),
		.beta2 = (float)beta2, .rest2 = (float)(1 - beta2),
		.root = (float)(1 / sqrt(1 - pow(beta2, t))), .eps = (float)choice_value(c, "eps") };

#pragma omp parallel for schedule(dynamic)
	for (int i = 0; i < o->count; i++) {
		const struct slice *s = &o->slices[i];
		struct adamw one = all;

		one.rate = (float)(lr * s->rate / (1 - pow(beta1, t)));
		one.wd = (float)(lr * s->rate * decay(o, s));
		k->adamw(&one, s->n, w + s->at, g + s->at, o->slots[0] + s->at, o->slots[1] + s->at);
	}
}

#define COMMON(lr, wd, nodecay) \
	{ "lr", lr, 0, 1000, "learning rate at the schedule's full height", NULL }, \
	{ "per", 0, 0, 1e9, "images a batch that lr is meant for, it grows with the batch; 0: any", NULL }, \
	{ "wd", wd, 0, 1, "weight decay", NULL }, \
	{ "nodecay", nodecay, 0, 1, "1: norm and bias parameters do not decay", NULL }
#define MOMENTUM \
	{ "momentum", 0.9, 0, 1, "share of the last step's direction kept", NULL }, \
	{ "nesterov", 0, 0, 1, "1: Nesterov's momentum", NULL }
#define END { NULL, 0, 0, 0, NULL, NULL }

static const struct param sgd_params[] = { COMMON(0.03, 1e-4, 0), MOMENTUM, END };
static const struct param lars_params[] = {
	COMMON(0.3, 1e-6, 1), MOMENTUM,
	{ "trust", 0.001, 0, 1000, "length of a tensor's step, in lengths of the tensor", NULL },
	END
};
static const struct param adamw_params[] = {
	COMMON(1e-3, 0.01, 0),
	{ "beta1", 0.9, 0, 0.999999, "share of the mean gradient kept", NULL },
	{ "beta2", 0.999, 0, 0.999999, "share of the mean squared gradient kept", NULL },
	{ "eps", 1e-8, 0, 1, "added to the root of the mean square", NULL },
	END
};

static const struct optim optims[] = {
	{ { "sgd", "stochastic gradient descent with momentum", sgd_params }, 1, { "momentum", NULL }, sgd_step },
	{ { "lars", "sgd with steps in proportion to each tensor, for large batches", lars_params }, 1,
	  { "momentum", NULL }, lars_step },
	{ { "adamw", "Adam with decoupled weight decay", adamw_params }, 2, { "exp_avg", "exp_avg_sq" }, adamw_step },
};
const struct table optimiser_table = TABLE("optimiser", optims);

/* --- an optimiser at work --- */

static int cut(struct slice *slices, const struct net_tensor *t, int tensor)
{
	int n = 0;

	for (int64_t at = 0; at < t->count; at += SLICE, n++)
		if (slices)
			slices[n] = (struct slice){ t->offset + at, MIN(SLICE, t->count - at), tensor, t->norm_or_bias,
						  t->rate };
	return n;
}

const struct optim *optimiser_row(const struct optimiser *o)
{
	return (const struct optim *)o->choice.entry;
}

void optimiser_init(struct optimiser *o, const struct choice *c, double clip, const struct net_tensor *tensors, int count)
{
	int64_t n = 0;

	*o = (struct optimiser){ .choice = *c, .clip = clip, .tensors = count };
	for (int i = 0; i < count; i++) {
		if (tensors[i].buffer)
			continue;
		o->count += tensors[i].frozen ? 0 : cut(NULL, &tensors[i], i);
		n = MAX(n, tensors[i].offset + tensors[i].count);
	}
	o->slices = xcalloc(o->count, sizeof(*o->slices));
	for (int i = 0, at = 0; i < count; i++)
		at += tensors[i].buffer || tensors[i].frozen ? 0 : cut(o->slices + at, &tensors[i], i);
	o->sums = xcalloc(2 * o->count, sizeof(*o->sums));
	o->trust = xcalloc(count, sizeof(*o->trust));
	for (int i = 0; i < count; i++)
		o->trust[i] = 1;
	for (int i = 0; i < optimiser_row(o)->slots; i++)
		o->slots[i] = xaligned((size_t)n * sizeof(float));
}

void optimiser_release(struct optimiser *o)
{
	for (int i = 0; i < OPTIM_SLOTS; i++)
		free(o->slots[i]);
	free(o->slices);
	free(o->sums);
	free(o->trust);
	memset(o, 0, sizeof(*o));
}

double optimiser_rate(const struct choice *c, int batch)
{
	double per = choice_value(c, "per");

	return choice_value(c, "lr") * (per > 0 ? batch / per : 1);
}

double optimiser_step(struct optimiser *o, double lr, int64_t step, float *w, const float *g)
{
	double norm;

	square(o, o->sums, 1, g, 0, g);
	norm = sqrt(total(o->sums, o->count));
	if (isfinite(norm))
		optimiser_row(o)->step(o, lr, o->clip > 0 ? MIN(1, o->clip / (norm + 1e-6)) : 1, step, w, g);
	return norm;
}
