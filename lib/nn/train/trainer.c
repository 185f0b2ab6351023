#include "lib/nn/train/trainer.h"

#include "lib/nn/train/parts.h"

#include <math.h>

static float *vector(int64_t n)
{
	return xaligned((size_t)n * sizeof(float));
}

/* --- sizes --- */

/* The place of a size among the others, planned when it is new; NULL after fail(). */
static struct sized *plan_size(struct trainer *t, int height, int width)
{
	struct sized *s = t->sizes;

	while (s->plan && (s->height != height || s->width != width))
		s++;
	if (s->plan)
		return s;
	*s = (struct sized){ .plan = plan_new(t->net, height, width), .height = height, .width = width };
	if (!s->plan)
		return NULL;
	s->factors = factors_new(s->plan, true);
	s->key_factors = factors_new(s->plan, false);
	return s;
}

static int plan_sizes(struct trainer *t)
{
	for (int i = 0; i < TRAINER_VIEWS; i++) {
		const int *own = t->c.sizes[i];

		t->size_of[i] = own[0] ? plan_size(t, own[0], own[1]) : plan_size(t, t->c.net.height, t->c.net.width);
		if (!t->size_of[i])
			return -1;
	}
	return 0;
}

static void renew_factors(struct trainer *t, bool key)
{
	for (const struct sized *s = t->sizes; s->plan; s++)
		factors_renew(key ? s->key_factors : s->factors);
}

/* --- life --- */

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
	t->c.net = *net_configuration(t->net);
	t->query = xcalloc((size_t)TRAINER_VIEWS * c->parts, sizeof(*t->query));
	if (plan_sizes(t) < 0)
		return -1;
	t->params = vector(net_params(t->net));
	t->grads = vector(net_params(t->net));
	t->buffers = vector(net_buffers(t->net));
	count = net_tensors(t->net, &tensors);
	optimiser_init(&t->optim, &c->optim, c->clip, tensors, count);
	t->still = statistics_still(tensors, count, net_buffers(t->net));
	net_init(t->net, c->seed, t->params, t->buffers);
	if (c->meter)
		t->meter = meter_new(t->sizes[0].plan);
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
	for (struct sized *s = t->sizes; s->plan; s++) {
		pass_free(s->query);
		pass_free(s->key);
		factors_free(s->factors);
		factors_free(s->key_factors);
		plan_free(s->plan);
	}
	optimiser_release(&t->optim);
	free(t->query);
	free(t->params);
	free(t->grads);
	free(t->buffers);
	free(t->key_params);
	free(t->key_buffers);
	free(t->still);
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
	double left = t->still ? 1 : pow(1 - trainer_bn_momentum(t), (double)step);   /* frozen ones never move */

	return net_buffers(t->net) > 0 ? t->unsettled * left : 0;
}

/* Of one view's queries or keys. */
static struct statistics *statistics_of(struct trainer *t, bool key, int view)
{
	struct statistics *s = &t->statistics[key][view];

	if (!s->group)
		*s = statistics_new(net_buffers(t->net));
	s->still = t->still;
	return s;
}

/* One more part; after the last one the running ones move, once a step and view. */
static void add_part(const struct trainer *t, struct statistics *s, int part, float *running)
{
	statistics_add(s);
	if (part == t->c.parts - 1)
		statistics_move(s, &t->c.ranks, trainer_bn_momentum(t), running);
}

/* --- a step --- */

void trainer_begin(struct trainer *t, int64_t step)
{
	t->step = step;
}

/* Masks of a query's pass, of a key's: two networks in training mode drop apart. row: the first one's place in the batch, in the
 * order of the key groups where it is a key; that of ranks starts at its own first. */
static void draw_masks(const struct trainer *t, struct pass *p, bool key, int view, int row)
{
	enum { HALF = TRAINER_VIEWS / 2 };   /* views that stand together: queries, then keys */
	int stream = view / HALF * TRAINER_VIEWS + (key ? HALF : 0) + view % HALF;

	row += t->c.ranks.count > 1 ? t->c.ranks.first : 0;
	pass_masks(p, (struct masks){ .seed = t->c.seed, .step = (uint32_t)t->step, .stream = stream, .row = (uint32_t)row });
}

/* One for each part of each view, or one a size. */
static struct pass **query_place(const struct trainer *t, int view, int part)
{
	return t->c.stream ? &t->size_of[view]->query : &t->query[view * t->c.parts + part];
}

static struct pass *query_pass(struct trainer *t, int view, int part)
{
	struct pass **p = query_place(t, view, part);

	if (!*p) {
		*p = pass_new(t->size_of[view]->plan, part_most(t->c.batch, t->c.parts), true);
		pass_share(*p, t->size_of[view]->factors);
		pass_meter(*p, t->meter);
	}
	draw_masks(t, *p, false, view, part_start(t->c.batch, part, t->c.parts));
	return *p;
}

void trainer_query(struct trainer *t, int view, int part, const uint8_t *views, int rows)
{
	struct statistics *s = statistics_of(t, false, view);

	pass_forward(query_pass(t, view, part), t->params, statistics_group(s, t->buffers), views, rows, PASS_TRAIN);
	add_part(t, s, part, t->buffers);
}

const float *trainer_output(const struct trainer *t, int view, int part, enum output output)
{
	return pass_output(*query_place(t, view, part), output);
}

void trainer_query_again(struct trainer *t, int view, int part, const uint8_t *views, int rows)
{
	float *statistics = t->still ? statistics_group(statistics_of(t, false, view), t->buffers) : NULL;

	if (t->c.stream)
		pass_forward(query_pass(t, view, part), t->params, statistics, views, rows, PASS_TRAIN);
}

void trainer_backward(struct trainer *t, int view, int part, const float *const d[OUTPUTS])
{
	pass_backward(*query_place(t, view, part), t->params, d, t->grads);
}

/* --- the momentum encoder --- */

static void allocate_key(struct trainer *t)
{
	t->key_params = vector(net_params(t->net));
	t->key_buffers = vector(net_buffers(t->net));
}

/* Elements that come before those of predictors, of parameters or of buffers. */
static int64_t key_count(const struct trainer *t, bool buffers)
{
	int64_t n = buffers ? net_buffers(t->net) : net_params(t->net);
	const struct net_tensor *list;

	for (int i = net_tensors(t->net, &list) - 1; i >= 0 && list[i].output >= OUTPUT_PREDICTOR; i--)
		n = list[i].buffer == buffers ? list[i].offset : n;
	return n;
}

static void follow(const struct trainer *t, bool buffers, double m)
{
	const struct net_tensor *list;
	int n = net_tensors(t->net, &list);

	ema_follow(list, n, buffers, key_count(t, buffers), m, buffers ? t->buffers : t->params,
		   buffers ? t->key_buffers : t->key_params);
}

void trainer_move_key(struct trainer *t)
{
	double m = ema_momentum(&t->c.ema, t->step, (int64_t)(t->c.epochs * (double)t->c.steps_per_epoch));

	meter_spent(t->meter, METER_REST);
	renew_factors(t, true);
	if (t->key_params) {
		follow(t, false, m);
		if (t->c.ema_buffers)
			follow(t, true, m);
		meter_spent(t->meter, METER_EMA);
		return;
	}
	allocate_key(t);
	memcpy(t->key_params, t->params, key_count(t, false) * sizeof(float));
	net_init(t->net, t->c.seed, t->grads, t->key_buffers); /* only for the buffers' first values */
	memset(t->grads, 0, net_params(t->net) * sizeof(float));
	for (int64_t i = 0; i < key_count(t, true); i++)
		if (t->c.ema_buffers || (t->still && t->still[i]))
			t->key_buffers[i] = t->buffers[i];
}

const float *trainer_key(struct trainer *t, int view, int group, const uint8_t *views, int rows)
{
	struct sized *size = t->size_of[view];
	struct statistics *s = statistics_of(t, true, view);

	if (!size->key) {
		size->key = pass_new(size->plan, key_most(t->c.batch, t->c.parts), false);
		pass_share(size->key, size->key_factors);
		pass_meter(size->key, t->meter);
	}
	draw_masks(t, size->key, true, view, group * key_most(t->c.batch, t->c.parts));
	pass_forward(size->key, t->key_params, statistics_group(s, t->buffers), views, rows, PASS_KEY);
	if (!t->c.ema_buffers)
		add_part(t, s, group, t->key_buffers);
	return pass_output(size->key, OUTPUT_HEAD);
}

/* --- the update --- */

double trainer_rate(const struct trainer *t, int64_t step)
{
	int batch = t->c.ranks.count > 1 ? t->c.ranks.batch : t->c.batch;

	return schedule_rate(&t->c.schedule, optimiser_rate(&t->c.optim, batch), step, t->c.steps_per_epoch, t->c.epochs);
}

int trainer_update(struct trainer *t, int64_t step)
{
	int64_t n = net_params(t->net);

	meter_spent(t->meter, METER_REST);
	if (t->c.ranks.count > 1)
		t->c.ranks.sum(t->c.ranks.with, t->grads, n);
	if (!isfinite(optimiser_step(&t->optim, trainer_rate(t, step), step, t->params, t->grads)))
		return fail("%lld of %lld gradients are not finite at step %lld", (long long)tensor_nonfinite(t->grads, n),
			    (long long)n, (long long)step + 1);
	renew_factors(t, false);
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
	return (2 + optimiser_row(&t->optim)->slots) * net_tensors(t->net, NULL);
}

size_t trainer_staging(const struct trainer *t)
{
	return (2 + optimiser_row(&t->optim)->slots) * model_staging(t->net);
}

int trainer_collect(const struct trainer *t, float *staging, struct tensor *tensors)
{
	size_t step = model_staging(t->net) / sizeof(float);
	int n = model_collect(t->net, "model.", LAYERS_ALL, t->params, t->buffers, staging, tensors);

	if (t->key_params)
		n += model_collect(t->net, "key.", LAYERS_KEY, t->key_params, t->key_buffers, staging += step, tensors + n);
	for (int i = 0; i < optimiser_row(&t->optim)->slots; i++) {
		char prefix[48];

		snprintf(prefix, sizeof(prefix), "optim.%s.", optimiser_row(&t->optim)->slot_names[i]);
		n += model_collect(t->net, prefix, LAYERS_ALL, t->optim.slots[i], NULL, staging += step, tensors + n);
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

static int load_vector(const struct trainer *t, const struct tensors *f, const char *path, const char *prefix, int layers,
		       float *params, float *buffers)
{
	struct model_place place = { .other = false };

	format(place.prefix, sizeof(place.prefix), "%s", prefix);
	return model_load(t->net, f, path, &place, layers, layers, params, buffers, NULL);
}

int trainer_load(struct trainer *t, const struct tensors *f, const char *path)
{
	renew_factors(t, false);
	renew_factors(t, true);
	if (load_vector(t, f, path, "model.", LAYERS_ALL, t->params, t->buffers) < 0)
		return -1;
	if (has_prefix(f, "key.")) {
		if (!t->key_params)
			allocate_key(t);
		if (load_vector(t, f, path, "key.", LAYERS_KEY, t->key_params, t->key_buffers) < 0)
			return -1;
	}
	for (int i = 0; i < optimiser_row(&t->optim)->slots; i++) {
		char prefix[48];

		snprintf(prefix, sizeof(prefix), "optim.%s.", optimiser_row(&t->optim)->slot_names[i]);
		if (load_vector(t, f, path, prefix, LAYERS_ALL, t->optim.slots[i], NULL) < 0)
			return -1;
	}
	return 0;
}
