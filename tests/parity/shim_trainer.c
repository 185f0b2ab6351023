/* shim_trainer.c - plain-argument doors to the trainer for tests in Python */
#include "lib/nn/train/trainer.h"

struct trainer *shim_trainer(const char *arch, int small, const char *head, const char *predictor, int dim, const int *sizes,
			     int views, const float *mean, const float *std, const char *backend, int bf16, double dropout,
			     double drop_path, const char *optim, const char *schedule, const char *ema, int ema_buffers,
			     double bn_momentum, int batch, int parts, int stream, int steps, const char *freeze,
			     const char *rates);
void shim_trainer_free(struct trainer *t);
void shim_trainer_ranks(struct trainer *t, int count, int first, int batch,
			void (*sum)(void *with, float *values, int64_t count));
struct net *shim_trainer_net(struct trainer *t);
float *shim_trainer_vector(struct trainer *t, int which, int64_t *count);

/* A run of one epoch of so many steps; sizes: (views, 2), of which the first is the network's. NULL after fail(). The texts are
 * borrowed. */
struct trainer *shim_trainer(const char *arch, int small, const char *head, const char *predictor, int dim, const int *sizes,
			     int views, const float *mean, const float *std, const char *backend, int bf16, double dropout,
			     double drop_path, const char *optim, const char *schedule, const char *ema, int ema_buffers,
			     double bn_momentum, int batch, int parts, int stream, int steps, const char *freeze,
			     const char *rates)
{
	struct trainer *t = xcalloc(1, sizeof(*t));
	struct trainer_config c = {
		.net = { .arch = arch_find(arch), .small = small, .head = head, .predictor = predictor, .dim = dim,
			 .height = sizes[0], .width = sizes[1], .backend = backend, .bf16 = bf16,
			 .dropout = dropout, .drop_path = drop_path, .freeze = freeze, .rates = rates },
		.parts = parts, .bn_momentum = bn_momentum, .stream = stream, .ema_buffers = ema_buffers, .batch = batch,
		.steps_per_epoch = steps, .epochs = 1,
	};

	memcpy(c.sizes, sizes, views * sizeof(c.sizes[0]));
	memcpy(c.net.mean, mean, sizeof(c.net.mean));
	memcpy(c.net.std, std, sizeof(c.net.std));
	if (choice_parse(&c.optim, &optimiser_table, optim) < 0 || choice_parse(&c.schedule, &schedule_table, schedule) < 0 ||
	    ema_parse(&c.ema, ema) < 0 || trainer_init(t, &c) < 0) {
		free(t);
		return NULL;
	}
	return t;
}

void shim_trainer_free(struct trainer *t)
{
	trainer_release(t);
	free(t);
}

/* Makes it one of so many. */
void shim_trainer_ranks(struct trainer *t, int count, int first, int batch,
			void (*sum)(void *with, float *values, int64_t count))
{
	t->c.ranks = (struct ranks){ .count = count, .first = first, .batch = batch, .sum = sum };
}

struct net *shim_trainer_net(struct trainer *t)
{
	return t->net;
}

/* Parameters, buffers, gradients (0 to 2), the key's parameters and buffers (3, 4), the optimiser's slots (5, 6); NULL: none. */
float *shim_trainer_vector(struct trainer *t, int which, int64_t *count)
{
	float *all[] = { t->params, t->buffers, t->grads, t->key_params, t->key_buffers, t->optim.slots[0], t->optim.slots[1] };

	*count = which == 1 || which == 4 ? net_buffers(t->net) : net_params(t->net);
	return all[which];
}
