#include "lib/nn/train/trainer.h"

#include "lib/nn/train/parts.h"

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
	t->unsettled = 1;
	if (schedule_check(&c->schedule) < 0)
		return -1;
	t->net = net_new(&c->net);
	if (!t->net)
		return -1;
	t->c.net.head = net_configuration(t->net)->head;
	t->params = vector(net_params(t->net));
	t->grads = vector(net_params(t->net));
	t->buffers = vector(net_buffers(t->net));
	count = net_tensors(t->net, &tensors);
	optimiser_init(&t->optim, &c->optim, c->clip, tensors, count);
	t->query = xcalloc((size_t)TRAINER_VIEWS * c->parts, sizeof(*t->query));
	t->factors = factors_new(t->net, true);
	t->key_factors = factors_new(t->net, false);
	net_init(t->net, c->seed, t->params, t->buffers);
	if (c->meter)
		t->meter = meter_new(t->net);
	return 0;
}

void trainer_release(struct trainer *t)
{
	for (int i = 0; t->query && i < TRAINER_VIEWS * t->c.parts; i++)
		pass_free(t->query[i]);
	for (int i = 0; i < TRAINER_VIEWS; i++) {
		statistics_release(&t->statistics[0][i]);
		statistics_release(&t->statistics[1][i]);
	}
	pass_free(t->key);
	factors_free(t->factors);
	factors_free(t->key_factors);
	optimiser_release(&t->optim);
	free(t->query);
	free(t->params);
	free(t->grads);
	free(t->buffers);
	free(t->key_params);
	free(t->key_buffers);
	meter_free(t->meter);
	net_free(t->net);
	memset(t, 0, sizeof(*t));
}

/* --- running statistics --- */

double trainer_bn_momentum(const struct trainer *t)
{
	return t->c.bn_momentum > 0 ? t->c.bn_momentum : t->c.net.arch->bn_momentum;
}

double trainer_unsettled(const struct trainer *t, int64_t step)
{
	return net_buffers(t->net) > 0 ? t->unsettled * pow(1 - trainer_bn_momentum(t), (double)step) : 0;
}

/* Of one view's queries or keys. */
static struct statistics *statistics_of(struct trainer *t, bool key, int view)
{
	struct statistics *s = &t->statistics[key][view];

	if (!s->group)
		*s = statistics_new(net_buffers(t->net));
	return s;
}

/* One more part; after the last one the running ones move, once a step and view. */
static void add_part(const struct trainer *t, struct statistics *s, int part, float *running)
{
	statistics_add(s);
	if (part == t->c.parts - 1)
		statistics_move(s, trainer_bn_momentum(t), running);
}

/* --- a step --- */

void trainer_begin(struct trainer *t, int64_t step)
{
	t->step = step;
}

/* Masks of a query's pass, of a key's: two networks in training mode drop apart. row: the first one's place in the batch, in the
 * order of the key groups where it is a key. */
static void draw_masks(const struct trainer *t, struct pass *p, bool key, int view, int row)
{
	pass_masks(p, (struct masks){ .seed = t->c.seed, .step = (uint32_t)t->step, .stream = key ? TRAINER_VIEWS + view : view,
				      .row = (uint32_t)row });
}

/* One for each part of each view, or one for all. */
static struct pass *query_pass(struct trainer *t, int view, int part)
{
	struct pass **p = &t->query[t->c.stream ? 0 : view * t->c.parts + part];

	if (!*p) {
		*p = pass_new(t->net, part_most(t->c.batch, t->c.parts), true);
		pass_share(*p, t->factors);
		pass_meter(*p, t->meter);
	}
	return *p;
}

const float *trainer_query(struct trainer *t, int view, int part, const uint8_t *views, int rows)
{
	struct pass *p = query_pass(t, view, part);
	struct statistics *s = statistics_of(t, false, view);

	draw_masks(t, p, false, view, part_start(t->c.batch, part, t->c.parts));
	net_forward(t->net, p, t->params, s->group, views, rows, NET_TRAIN);
	add_part(t, s, part, t->buffers);
	return pass_head(p);
}

const float *trainer_feature(struct trainer *t, int view, int part)
{
	return pass_feature(query_pass(t, view, part));
}

const float *trainer_query_again(struct trainer *t, int view, int part, const uint8_t *views, int rows)
{
	struct pass *p = query_pass(t, view, part);

	if (t->c.stream) {
		draw_masks(t, p, false, view, part_start(t->c.batch, part, t->c.parts));
		net_forward(t->net, p, t->params, NULL, views, rows, NET_TRAIN);
	}
	return pass_head(p);
}

static void allocate_key(struct trainer *t)
{
	t->key_params = vector(net_params(t->net));
	t->key_buffers = vector(net_buffers(t->net));
}

void trainer_move_key(struct trainer *t)
{
	meter_spent(t->meter, METER_REST);
	factors_renew(t->key_factors);
	if (t->key_params) {
		ema_update(net_params(t->net), t->c.ema, t->params, t->key_params);
		meter_spent(t->meter, METER_EMA);
		return;
	}
	allocate_key(t);
	memcpy(t->key_params, t->params, net_params(t->net) * sizeof(float));
	net_init(t->net, t->c.seed, t->grads, t->key_buffers); /* only for the buffers' first values */
	memset(t->grads, 0, net_params(t->net) * sizeof(float));
}

const float *trainer_key(struct trainer *t, int view, int group, const uint8_t *views, int rows)
{
	struct statistics *s = statistics_of(t, true, view);

	if (!t->key) {
		t->key = pass_new(t->net, key_most(t->c.batch, t->c.parts), false);
		pass_share(t->key, t->key_factors);
		pass_meter(t->key, t->meter);
	}
	draw_masks(t, t->key, true, view, group * key_most(t->c.batch, t->c.parts));
	net_forward(t->net, t->key, t->key_params, s->group, views, rows, NET_KEY);
	add_part(t, s, group, t->key_buffers);
	return pass_head(t->key);
}

void trainer_backward(struct trainer *t, int view, int part, const float *d_q)
{
	net_backward(t->net, query_pass(t, view, part), t->params, NULL, d_q, t->grads);
}

double trainer_rate(const struct trainer *t, int64_t step)
{
	return schedule_rate(&t->c.schedule, optimiser_rate(&t->c.optim, t->c.batch), step, t->c.steps_per_epoch, t->c.epochs);
}

int trainer_update(struct trainer *t, int64_t step)
{
	int64_t n = net_params(t->net);

	meter_spent(t->meter, METER_REST);
	if (!isfinite(optimiser_step(&t->optim, trainer_rate(t, step), step, t->params, t->grads)))
		return fail("%lld of %lld gradients are not finite at step %lld", (long long)count_nonfinite(t->grads, n),
			    (long long)n, (long long)step + 1);
	factors_renew(t->factors);
	memset(t->grads, 0, n * sizeof(float));
	meter_spent(t->meter, METER_OPTIMISER);
	return 0;
}

/* Of all magnitudes; infinite where a number is not finite. */
static float greatest(const float *x, int64_t count)
{
	int64_t n = x ? count : 0;
	float most = 0;

#pragma omp parallel for schedule(static) reduction(max : most)
	for (int64_t i = 0; i < n; i++)
		most = MAX(most, isfinite(x[i]) ? fabsf(x[i]) : INFINITY);
	return most;
}

int trainer_check(const struct trainer *t)
{
	static const float absurd = 1e9f; /* a hundred thousand times what training leads to, but products of them still hold */
	int64_t n = net_params(t->net), m = net_buffers(t->net);
	float weights = MAX(greatest(t->params, n), greatest(t->key_params, n));
	float rest = MAX(greatest(t->buffers, m), greatest(t->key_buffers, m));

	for (int i = 0; i < OPTIM_SLOTS; i++)
		rest = MAX(rest, greatest(t->optim.slots[i], n));
	if (isinf(weights))
		return fail("some weights are not finite");
	if (isinf(rest))
		return fail("some running statistics, or some of the optimiser's numbers, are not finite");
	return weights <= absurd ? 0 : fail("some weights are as large as %.1e", weights);
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

static bool has_prefix(const struct tensors *f, const char *prefix)
{
	for (int i = 0; i < f->count; i++)
		if (strncmp(f->tensors[i].name, prefix, strlen(prefix)) == 0)
			return true;
	return false;
}

static int load_vector(const struct trainer *t, const struct tensors *f, const char *path, const char *prefix, float *params,
		       float *buffers)
{
	struct model_place place = { .other = false };

	format(place.prefix, sizeof(place.prefix), "%s", prefix);
	return model_load(t->net, f, path, &place, MODEL_HEAD_REQUIRED, params, buffers, NULL);
}

int trainer_load(struct trainer *t, const struct tensors *f, const char *path)
{
	factors_renew(t->factors);
	factors_renew(t->key_factors);
	if (load_vector(t, f, path, "model.", t->params, t->buffers) < 0)
		return -1;
	if (has_prefix(f, "key.")) {
		if (!t->key_params)
			allocate_key(t);
		if (load_vector(t, f, path, "key.", t->key_params, t->key_buffers) < 0)
			return -1;
	}
	for (int i = 0; i < optimiser_row(&t->optim)->slots; i++) {
		char prefix[48];

		snprintf(prefix, sizeof(prefix), "optim.%s.", optimiser_row(&t->optim)->slot_names[i]);
		if (load_vector(t, f, path, prefix, t->optim.slots[i], NULL) < 0)
			return -1;
	}
	return 0;
}
