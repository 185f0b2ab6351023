/*
 * moco.c - InfoNCE against a queue of keys (He et al. 2020, eq. 1; MoCo v2: Chen et al. 2020)
 *
 *	L(q, k) = -1/N sum_i log( exp(q_i.k_i/t) / (exp(q_i.k_i/t) + sum_j exp(q_i.queue_j/t)) )      q, k, queue of unit length
 *
 * Asymmetric: L(q0, k1), and k1 is enqueued. Symmetric (sym=1): (L(q0, k1) + L(q1, k0)) / 2, both against the queue as it was,
 * then k0 and k1 are enqueued. MoCo's CIFAR-10 demo adds the two where this takes the mean, which keeps ln(K+1) as the value to
 * expect: to repeat its symmetric runs, double the learning rate and halve the weight decay.
 * top1 and top5: per cent of queries whose own key ranks first, or among the first five, of all K+1.
 *
 * Smoothed: a share of the target goes to the nn entries of the queue that are nearest to the query, or to its key, as false
 * negatives (Shi et al. 2022; with further plans of who gets how much, light-moco, Lin et al. 2022).
 */
#include "lib/loss/loss.h"
#include "lib/loss/nce.h"
#include "lib/loss/queue.h"
#include "lib/loss/top.h"
#include "lib/loss/unit.h"

#include <math.h>

const struct param moco_params[] = {
	{ "t", 0.1, 1e-3, 100, "temperature (MoCo v2: 0.2)", NULL },
	{ "k", 65536, 1, 1 << 26, "queue size, a multiple of the keys of a step", NULL },
	{ "sym", 0, 0, 1, "1: both views are queries, the mean of both losses", NULL },
	{ "smooth", 0, 0, 1, "share of the target that goes to near entries of the queue", NULL, true },
	{ "nn", 1, 1, 1024, "to so many of them", NULL, true },
	{ "by", 0, 0, 0, "near to whom: q, the query, or k, its key", "q", true },
	{ "plan", 0, 0, 0, "who gets how much: even, thirds, halving, all", "even", true },
	{ NULL, 0, 0, 0, NULL, NULL },
};

enum { QUEUE, POINTER };

/* Fills the shares of the nearest entries, nearest first; returns how many have one, of a queue of k. */
typedef int plan_fn(double smooth, int nn, double *share);

static int even(double smooth, int nn, double *share)
{
	for (int i = 0; i < nn; i++)
		share[i] = smooth / nn;
	return nn;
}

/* Half, a quarter, a quarter, over groups that end at 1, at the root of nn rounded up, and at nn: 1, 4, 10. */
static int thirds(double smooth, int nn, double *share)
{
	int root = (int)ceil(sqrt(nn)), ends[] = { 0, 1, root, nn };
	double of[] = { smooth / 2, smooth / 4, smooth / 4 };

	for (int g = 0; g < 3; g++)
		for (int i = ends[g]; i < ends[g + 1]; i++)
			share[i] = of[g] / (ends[g + 1] - ends[g]);
	return nn;
}

enum { HALVINGS = 11 };
static const double halving_smooth = 0.4;

/* 0.2, 0.1, ..., the last one twice: 0.4 together. */
static int halving(double smooth, int nn, double *share)
{
	(void)smooth, (void)nn;
	for (int i = 0; i < HALVINGS; i++)
		share[i] = 0.2 / (1 << MIN(i, HALVINGS - 2));
	return HALVINGS;
}

/* Of every entry the same: no one is near. */
static int all(double smooth, int nn, double *share)
{
	(void)smooth, (void)nn, (void)share;
	return 0;
}

static const char plan_names[] = "even thirds halving all";
static plan_fn *const plans[] = { even, thirds, halving, all };

struct moco {
	struct nce *nce;
	float *k[2], *k_norm;     /* unit rows (n, dim) */
	double smooth;            /* 0: none of the following is there */
	bool by_key;
	double share[1024];
	int near;                 /* how many entries have a share of their own; 0: all the same */
	int32_t *index;           /* (n, near) */
	float *others;            /* (n, dim): sum of entries by their shares */
};

const char *moco_choose(const struct choice *c)
{
	return choice_value(c, "sym") != 0 ? "q0 q1 k0 k1" : "q0 k1";
}

static int prepare_smoothing(struct objective *o, struct moco *m)
{
	int plan = objective_word(o, "plan", plan_names), by = objective_word(o, "by", "q k");
	int nn = (int)choice_value(&o->choice, "nn"), k = (int)choice_value(&o->choice, "k");

	if (plan < 0 || by < 0)
		return -1;
	m->smooth = plans[plan] == halving ? halving_smooth : choice_value(&o->choice, "smooth");
	if (m->smooth == 0)
		return 0;
	if (plans[plan] == thirds && nn < 3)
		return fail_code(EXIT_USAGE, "plan=thirds has three groups of near entries: try nn=10");
	m->by_key = by == 1;
	m->near = plans[plan](m->smooth, nn, m->share);
	if (m->near > k)
		return fail_code(EXIT_USAGE, "%d near entries are more than the queue's %d: take a larger k", m->near, k);
	m->index = xaligned((size_t)o->rows * MAX(1, m->near) * sizeof(*m->index));
	m->others = xaligned(tensor_bytes(&o->inputs[0].value));
	return 0;
}

int moco_prepare(struct objective *o)
{
	int64_t size = (int64_t)choice_value(&o->choice, "k"), dim = o->inputs[0].value.shape[1];
	struct moco *m = o->room = xcalloc(1, sizeof(*m));

	if (objective_same_width(o) < 0)
		return -1;
	if (queue_fits("moco", "k", size, o->rows * (o->input_count / 2)) < 0 || prepare_smoothing(o, m) < 0)
		return -1;
	queue_add(o, "loss.queue", "loss.pointer", size, dim, 0);
	m->nce = nce_new(o->rows, (int)size, (int)dim);
	m->k[0] = xaligned((size_t)o->rows * dim * sizeof(float));
	m->k[1] = xaligned((size_t)o->rows * dim * sizeof(float));
	m->k_norm = xaligned(o->rows * sizeof(float));
	return 0;
}

void moco_release(struct objective *o)
{
	struct moco *m = o->room;

	nce_free(m->nce);
	free(m->k[0]);
	free(m->k[1]);
	free(m->k_norm);
	free(m->index);
	free(m->others);
	free(m);
}

int moco_accept(const struct objective *o)
{
	return queue_accept(&o->state[POINTER], &o->state[QUEUE], o->rows * (o->input_count / 2));
}

double moco_expected(const struct objective *o)
{
	return log(choice_value(&o->choice, "k") + 1);
}

static void add(float *sum, const float *row, double share, int dim)
{
	for (int c = 0; c < dim; c++)
		sum[c] += (float)(share * row[c]);
}

/* Of each row the entries that have a share; without near ones, the whole queue's mean for all. */
static void find_others(struct objective *o, const float *keys)
{
	struct moco *m = o->room;
	const float *queue = tensor_f32(&o->state[QUEUE]);
	int k = (int)o->state[QUEUE].shape[0], dim = m->nce->dim;
	size_t row = dim * sizeof(float);

	memset(m->others, 0, o->rows * row);
	if (m->near > 0)
		top_rows(m->by_key ? keys : m->nce->q, o->rows, queue, k, dim, m->near, m->index);
	else
		for (int j = 0; j < k; j++)
			add(m->others, queue + (size_t)j * dim, m->smooth / k, dim);
	for (int i = 0; i < o->rows; i++) {
		float *others = m->others + (size_t)i * dim;

		for (int r = 0; r < m->near; r++)
			add(others, queue + (size_t)m->index[i * m->near + r] * dim, m->share[r], dim);
		if (m->near == 0 && i > 0)
			memcpy(others, m->others, row);
	}
}

int moco_evaluate(struct objective *o)
{
	struct moco *m = o->room;
	int pairs = o->input_count / 2, dim = (int)o->inputs[0].value.shape[1]; /* inputs: q0 k1, or q0 q1 k0 k1 */
	double t = choice_value(&o->choice, "t");

	nce_begin(m->nce);
	for (int i = 0; i < pairs; i++)
		unit_rows(tensor_f32(&o->inputs[pairs + i].value), o->rows, dim, m->k[i], m->k_norm);
	for (int i = 0; i < pairs; i++) {
		const float *keys = m->k[pairs - 1 - i];

		nce_read(m->nce, &o->inputs[i].value);
		if (m->smooth > 0)
			find_others(o, keys);
		nce_contrast(m->nce, keys, tensor_f32(&o->state[QUEUE]), t, 1.0 / pairs, m->others, m->smooth,
			     tensor_f32(&o->inputs[i].gradient));
	}
	for (int i = 0; i < pairs; i++)
		queue_push(&o->state[QUEUE], &o->state[POINTER], m->k[i], o->rows);
	objective_set(o, "loss", m->nce->loss / o->rows);
	nce_ranks(m->nce, o);
	return 0;
}
