/*
 * seed.c - the student's similarities to a queue as the teacher's (SEED, Fang et al. 2021, eq. 4 and 5)
 *
 *	y = softmax([1, u(t).queue] / tt),   z = softmax([<u(q),u(t)>, u(q).queue] / t),   L = mean of -sum_j y_j log z_j
 *
 * n small views, as rows of one batch against a queue of their own, of which the first one's teachers are pushed; L is the sum.
 */
#include "lib/loss/distil.h"

#include <math.h>

const struct param seed_params[] = {
	{ "t", 0.2, 1e-4, 100, "temperature of the student", NULL },
	{ "tt", 0.01, 1e-4, 100, "temperature of the teacher (its code: 1e-4)", NULL },
	{ "k", 65536, 1, 1 << 26, "queue size, a multiple of the batch", NULL },
	{ "patches", 0, 0, 7, "small views beside the first: q1 t1 and so on", NULL },
	{ "kp", 65536, 1, 1 << 26, "size of the queue of small views", NULL },
	{ NULL, 0, 0, 0, NULL, NULL },
};

enum { QUEUE, POINTER, PATCHES, PATCH_POINTER };

struct seed {
	struct distil *whole, *patch;
	float *d;                /* of the patches' rows */
};

/* q0 to qn, then t0 to tn. */
const char *seed_choose(const struct choice *c)
{
	static char names[8 * LOSS_INPUTS];
	int n = (int)choice_value(c, "patches"), at = 0;

	for (int kind = 0; kind < 2; kind++)
		for (int i = 0; i <= n; i++)
			at += snprintf(names + at, sizeof(names) - at, "%c%d ", kind ? 't' : 'q', i);
	return names;
}

int seed_prepare(struct objective *o)
{
	int64_t k = (int64_t)choice_value(&o->choice, "k"), kp = (int64_t)choice_value(&o->choice, "kp");
	int64_t dim = o->inputs[0].value.shape[1], patches = (int64_t)choice_value(&o->choice, "patches");
	struct seed *s = o->room = xcalloc(1, sizeof(*s));

	if (objective_same_width(o) < 0 || queue_fits("seed", "k", k, o->rows) < 0 ||
	    (patches && queue_fits("seed", "kp", kp, o->rows) < 0))
		return -1;
	queue_add(o, "loss.queue", "loss.pointer", k, dim, 0);
	s->whole = distil_new(o->rows, (int)k, (int)dim, (int)dim);
	if (patches == 0)
		return 0;
	queue_add(o, "loss.patches", "loss.patch_pointer", kp, dim, 1);
	s->patch = distil_new((int)patches * o->rows, (int)kp, (int)dim, (int)dim);
	s->d = xaligned(patches * o->rows * dim * sizeof(float));
	return 0;
}

void seed_release(struct objective *o)
{
	struct seed *s = o->room;

	distil_free(s->whole);
	distil_free(s->patch);
	free(s->d);
	free(s);
}

int seed_accept(const struct objective *o)
{
	if (queue_accept(&o->state[POINTER], &o->state[QUEUE], o->rows) < 0)
		return -1;
	return o->state_count > PATCHES ? queue_accept(&o->state[PATCH_POINTER], &o->state[PATCHES], o->rows) : 0;
}

/* The teacher's entropy is not known before; a student that knows nothing spreads evenly. */
double seed_expected(const struct objective *o)
{
	double patches = choice_value(&o->choice, "patches");

	return log(choice_value(&o->choice, "k") + 1) + (patches > 0 ? log(choice_value(&o->choice, "kp") + 1) : 0);
}

/* Cross-entropy of the rows in x against a queue, its gradient for q into d. */
static double cross_entropy(const struct objective *o, struct distil *x, const struct tensor *queue, float *d)
{
	double t = choice_value(&o->choice, "t");

	for (int i = 0; i < x->rows; i++)
		x->own[i] = 1;
	distil_targets(x, tensor_f32(queue), tensor_f32(queue), x->own, choice_value(&o->choice, "tt"));
	unit_dots(x->q, x->t, x->rows, x->dim, x->own);
	return distil_match(x, tensor_f32(queue), x->own, t, d);
}

int seed_evaluate(struct objective *o)
{
	struct seed *s = o->room;
	int patches = (int)choice_value(&o->choice, "patches"), views = patches + 1;
	size_t block = (size_t)o->rows * o->inputs[0].value.shape[1];
	double loss;

	distil_read(s->whole, 0, &o->inputs[0].value, &o->inputs[views].value);
	loss = cross_entropy(o, s->whole, &o->state[QUEUE], tensor_f32(&o->inputs[0].gradient));
	for (int i = 0; i < patches; i++)
		distil_read(s->patch, i * o->rows, &o->inputs[1 + i].value, &o->inputs[views + 1 + i].value);
	if (patches > 0)
		loss += cross_entropy(o, s->patch, &o->state[PATCHES], s->d);
	for (int i = 0; i < patches; i++)
		memcpy(tensor_f32(&o->inputs[1 + i].gradient), s->d + i * block, block * sizeof(float));
	queue_push(&o->state[QUEUE], &o->state[POINTER], s->whole->t, o->rows);
	if (patches > 0)
		queue_push(&o->state[PATCHES], &o->state[PATCH_POINTER], s->patch->t, o->rows);
	objective_set(o, "loss", loss);
	return 0;
}
