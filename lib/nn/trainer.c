#include "lib/nn/trainer.h"

#include "lib/base/rng.h"

#include <math.h>

static float *vector(int64_t n)
{
	return xaligned((size_t)n * sizeof(float));
}

int trainer_init(struct trainer *t, const struct trainer_config *c)
{
	const struct net_tensor *tensors;
	int count;

	memset(t, 0, sizeof(*t));
	t->c = *c;
	if (schedule_check(&c->schedule) < 0)
		return -1;
	t->net = net_new(&c->net);
	if (!t->net)
		return -1;
	t->params = vector(net_params(t->net));
	t->grads = vector(net_params(t->net));
	t->buffers = vector(net_buffers(t->net));
	count = net_tensors(t->net, &tensors);
	optimiser_init(&t->optim, &c->optim, c->clip, tensors, count);
	t->order = xaligned(c->batch * sizeof(*t->order));
	net_init(t->net, c->seed, t->params, t->buffers);
	return 0;
}

void trainer_release(struct trainer *t)
{
	for (int i = 0; i < TRAINER_VIEWS; i++)
		pass_free(t->query[i]);
	pass_free(t->key);
	optimiser_release(&t->optim);
	free(t->params);
	free(t->grads);
	free(t->buffers);
	free(t->key_params);
	free(t->key_buffers);
	free(t->order);
	net_free(t->net);
	memset(t, 0, sizeof(*t));
}

/* --- a step --- */

const float *trainer_query(struct trainer *t, int view, const uint8_t *views, int rows)
{
	if (!t->query[view])
		t->query[view] = pass_new(t->net, t->c.batch, true);
	net_forward(t->net, t->query[view], t->params, t->buffers, views, NULL, rows, NET_TRAIN);
	return pass_head(t->query[view]);
}

const float *trainer_feature(const struct trainer *t, int view)
{
	return pass_feature(t->query[view]);
}

static void allocate_key(struct trainer *t)
{
	t->key_params = vector(net_params(t->net));
	t->key_buffers = vector(net_buffers(t->net));
}

void trainer_move_key(struct trainer *t)
{
	if (t->key_params) {
		ema_update(net_params(t->net), t->c.ema, t->params, t->key_params);
		return;
	}
	allocate_key(t);
	memcpy(t->key_params, t->params, net_params(t->net) * sizeof(float));
	net_init(t->net, t->c.seed, t->grads, t->key_buffers); /* only for the buffers' first values */
	memset(t->grads, 0, net_params(t->net) * sizeof(float));
}

/* Shuffled BN: which samples share statistics must not tell query and key apart (He et al. 2020, sec. 3.3). */
static const int32_t *shuffle(struct trainer *t, int view, int rows, int64_t step)
{
	struct rng r = rng_at(t->c.seed, (uint32_t)(step >> 32), (uint32_t)step, (uint16_t)view, RNG_SHUFFLE_BN);

	if (t->c.net.bn_splits <= 1)
		return NULL;
	for (int i = 0; i < rows; i++) {
		int j = (int)rng_below(&r, i + 1);

		t->order[i] = t->order[j];
		t->order[j] = i;
	}
	return t->order;
}

void trainer_key(struct trainer *t, int view, const uint8_t *views, int rows, int64_t step, float *out)
{
	if (!t->key)
		t->key = pass_new(t->net, t->c.batch, false);
	net_forward(t->net, t->key, t->key_params, t->key_buffers, views, shuffle(t, view, rows, step), rows, NET_KEY);
	memcpy(out, pass_head(t->key), (size_t)rows * t->c.net.dim * sizeof(float));
}

void trainer_backward(struct trainer *t, int view, const float *d_q)
{
	net_backward(t->net, t->query[view], t->params, NULL, d_q, t->grads);
}

double trainer_rate(const struct trainer *t, int64_t step)
{
	return schedule_rate(&t->c.schedule, optimiser_rate(&t->c.optim, t->c.batch), step, t->c.steps_per_epoch, t->c.epochs);
}

int trainer_update(struct trainer *t, int64_t step)
{
	int64_t n = net_params(t->net);

	if (!isfinite(optimiser_step(&t->optim, trainer_rate(t, step), step, t->params, t->grads)))
		return fail("%lld of %lld gradients are not finite at step %lld: try a smaller lr, a longer warm-up or a higher temperature",
			    (long long)count_nonfinite(t->grads, n), (long long)n, (long long)step + 1);
	memset(t->grads, 0, n * sizeof(float));
	return 0;
}

/* --- the state as named tensors --- */

int trainer_count(const struct trainer *t)
{
	return (2 + optimiser_row(&t->optim)->slots) * model_count(t->net);
}

size_t trainer_staging(const struct trainer *t)
{
	return (2 + optimiser_row(&t->optim)->slots) * model_staging(t->net);
}

int trainer_collect(const struct trainer *t, float *staging, struct tensor *tensors)
{
	size_t step = model_staging(t->net) / sizeof(float);
	int n = model_collect(t->net, "model.", t->params, t->buffers, staging, tensors);

	if (t->key_params)
		n += model_collect(t->net, "key.", t->key_params, t->key_buffers, staging += step, tensors + n);
	for (int i = 0; i < optimiser_row(&t->optim)->slots; i++) {
		char prefix[48];

		snprintf(prefix, sizeof(prefix), "optim.%s.", optimiser_row(&t->optim)->slot_names[i]);
		n += model_collect(t->net, prefix, t->optim.slots[i], NULL, staging += step, tensors + n);
	}
	return n;
}

static bool has_prefix(const struct safetensors *f, const char *prefix)
{
	for (int i = 0; i < f->count; i++)
		if (strncmp(f->tensors[i].name, prefix, strlen(prefix)) == 0)
			return true;
	return false;
}

int trainer_load(struct trainer *t, const struct safetensors *f, const char *path)
{
	if (model_load(t->net, f, path, "model.", MODEL_HEAD_REQUIRED, t->params, t->buffers) < 0)
		return -1;
	if (has_prefix(f, "key.")) {
		if (!t->key_params)
			allocate_key(t);
		if (model_load(t->net, f, path, "key.", MODEL_HEAD_REQUIRED, t->key_params, t->key_buffers) < 0)
			return -1;
	}
	for (int i = 0; i < optimiser_row(&t->optim)->slots; i++) {
		char prefix[48];

		snprintf(prefix, sizeof(prefix), "optim.%s.", optimiser_row(&t->optim)->slot_names[i]);
		if (model_load(t->net, f, path, prefix, MODEL_HEAD_REQUIRED, t->optim.slots[i], NULL) < 0)
			return -1;
	}
	return 0;
}
