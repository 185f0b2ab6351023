/*
 * bingo.c - students of an image and of a member of its bag next to the teacher of both (BINGO, Xu et al. 2022, eq. 4 to 8)
 *
 *	l(a, b) = InfoNCE of query a and key b against a queue of teachers
 *	L = (w1 l(q0, t1) + w2 l(q0, t3) + w1 l(q2, t3) + w2 l(q2, t1) + m l(q4, t1) + (1 - m) l(q4, t3)) / 3
 *
 * Views 0 and 1 are of an image, 2 and 3 of a member of its bag (augment --views 4 --bags FILE), view 4 is view 0 with a box of
 * view 2 in it, m the share of each row's pixels that is view 0's (augment --mix). mix=0 leaves the last two terms out, and
 * divides by 2. For its first epochs w1 = 1 and w2 = 0, then both are a half. t1 is pushed.
 */
#include "lib/loss/loss.h"
#include "lib/loss/nce.h"
#include "lib/loss/queue.h"
#include "lib/loss/unit.h"

#include <math.h>

const struct param bingo_params[] = {
	{ "t", 0.2, 1e-3, 100, "temperature", NULL },
	{ "k", 65536, 1, 1 << 26, "queue size, a multiple of the batch", NULL },
	{ "mix", 1, 0, 1, "0: without the mixed view", NULL },
	{ "warm", 10, 0, 1e6, "epochs in which each student has its own view's teacher alone", NULL },
	{ NULL, 0, 0, 0, NULL, NULL },
};

enum { QUEUE, POINTER };
enum { Q_ANCHOR, Q_MEMBER, T_ANCHOR, T_MEMBER, Q_MIX, MIX };

struct bingo {
	struct nce *nce;
	float *t[2], *norm;         /* unit teachers (n, dim) of anchor and member */
	float *d;                   /* (n, dim): a term's gradient */
	float *rest;                /* (n): 1 - mix */
};

const char *bingo_choose(const struct choice *c)
{
	return choice_value(c, "mix") > 0 ? "q0 q2 t1 t3 q4 mix" : "q0 q2 t1 t3";
}

int bingo_prepare(struct objective *o)
{
	int64_t k = (int64_t)choice_value(&o->choice, "k"), dim = o->inputs[0].value.shape[1];
	size_t block = (size_t)o->rows * dim * sizeof(float);
	struct bingo *x = o->room = xcalloc(1, sizeof(*x));

	if (objective_same_width(o) < 0 || queue_fits("bingo", "k", k, o->rows) < 0)
		return -1;
	queue_add(o, "loss.queue", "loss.pointer", k, dim, 0);
	x->nce = nce_new(o->rows, (int)k, (int)dim);
	x->t[0] = xaligned(block);
	x->t[1] = xaligned(block);
	x->d = xaligned(block);
	x->norm = xaligned(o->rows * sizeof(float));
	x->rest = xaligned(o->rows * sizeof(float));
	return 0;
}

void bingo_release(struct objective *o)
{
	struct bingo *x = o->room;

	nce_free(x->nce);
	free(x->t[0]);
	free(x->t[1]);
	free(x->d);
	free(x->norm);
	free(x->rest);
	free(x);
}

int bingo_accept(const struct objective *o)
{
	return queue_accept(&o->state[POINTER], &o->state[QUEUE], o->rows);
}

double bingo_expected(const struct objective *o)
{
	return log(choice_value(&o->choice, "k") + 1);
}

/* Adds share times l(query in hand, t), row by row weighed by weight (NULL: 1), and its gradient. */
static void add_term(struct objective *o, const float *t, double share, const float *weight, struct tensor *gradient)
{
	struct bingo *x = o->room;
	size_t count = (size_t)o->rows * x->nce->dim;

	if (share == 0)
		return;
	x->nce->weight = weight;
	nce_contrast(x->nce, t, tensor_f32(&o->state[QUEUE]), choice_value(&o->choice, "t"), share, NULL, 0, x->d);
	for (size_t i = 0; i < count; i++)
		tensor_f32(gradient)[i] += x->d[i];
}

static int check_mix(const struct objective *o)
{
	const float *mix = tensor_f32(&o->inputs[MIX].value);

	for (int i = 0; i < o->rows; i++)
		if (!(mix[i] >= 0 && mix[i] <= 1))
			return fail("step %lld: row %d of '%s' is %g, no share of a view", (long long)o->step + 1, i,
				    o->inputs[MIX].value.name, mix[i]);
	return 0;
}

int bingo_evaluate(struct objective *o)
{
	struct bingo *x = o->room;
	bool mixed = o->input_count > MIX, warm = o->epoch < (int64_t)choice_value(&o->choice, "warm");
	double terms = mixed ? 3 : 2, own = (warm ? 1 : 0.5) / terms, other = (warm ? 0 : 0.5) / terms;

	if (mixed && check_mix(o) < 0)
		return -1;
	nce_begin(x->nce);
	for (int i = 0; i < 2; i++)
		unit_rows(tensor_f32(&o->inputs[T_ANCHOR + i].value), o->rows, x->nce->dim, x->t[i], x->norm);
	for (int i = 0; i < 2; i++) {
		nce_read(x->nce, &o->inputs[Q_ANCHOR + i].value);
		add_term(o, x->t[i], own, NULL, &o->inputs[Q_ANCHOR + i].gradient);
		add_term(o, x->t[1 - i], other, NULL, &o->inputs[Q_ANCHOR + i].gradient);
	}
	if (mixed) {
		const float *mix = tensor_f32(&o->inputs[MIX].value);

		for (int i = 0; i < o->rows; i++)
			x->rest[i] = 1 - mix[i];
		nce_read(x->nce, &o->inputs[Q_MIX].value);
		add_term(o, x->t[0], 1 / terms, mix, &o->inputs[Q_MIX].gradient);
		add_term(o, x->t[1], 1 / terms, x->rest, &o->inputs[Q_MIX].gradient);
	}
	queue_push(&o->state[QUEUE], &o->state[POINTER], x->t[0], o->rows);
	objective_set(o, "loss", x->nce->loss / o->rows);
	nce_ranks(x->nce, o);
	return 0;
}
