/*
 * moco.c - InfoNCE against a queue of keys (He et al. 2020, eq. 1; MoCo v2: Chen et al. 2020)
 *
 *	L(q, k) = -1/N sum_i log( exp(q_i.k_i/t) / (exp(q_i.k_i/t) + sum_j exp(q_i.queue_j/t)) )      q, k, queue of unit length
 *
 * Asymmetric: L(q0, k1), and k1 is enqueued. Symmetric (sym=1): (L(q0, k1) + L(q1, k0)) / 2, both against the queue as it was,
 * then k0 and k1 are enqueued. MoCo's CIFAR-10 demo adds the two where this takes the mean, which keeps ln(K+1) as the value to
 * expect: to repeat its symmetric runs, double the learning rate and halve the weight decay.
 * top1 and top5: per cent of queries whose own key ranks first, or among the first five, of all K+1.
 */
#include "lib/loss/loss.h"
#include "lib/loss/queue.h"
#include "lib/loss/softmax.h"
#include "lib/loss/unit.h"

#include <math.h>

const struct param moco_params[] = {
	{ "t", 0.1, 1e-3, 100, "temperature (MoCo v2: 0.2)", NULL },
	{ "k", 65536, 1, 1 << 26, "queue size, a multiple of the keys of a step", NULL },
	{ "sym", 0, 0, 1, "1: both views are queries, the mean of both losses", NULL },
	{ NULL, 0, 0, 0, NULL, NULL },
};

enum { QUEUE, POINTER };

struct moco {
	struct softmax *softmax;
	float *q, *k[2];          /* unit rows (n, dim) */
	float *q_norm, *k_norm;   /* (n) */
	float *positive;          /* (n): q_i . k_i */
	double loss;              /* sums over the pairs of a step */
	int64_t first, five;
};

const char *moco_choose(const struct choice *c)
{
	return choice_value(c, "sym") != 0 ? "q0 q1 k0 k1" : "q0 k1";
}

int moco_prepare(struct objective *o)
{
	int64_t size = (int64_t)choice_value(&o->choice, "k"), dim = o->inputs[0].value.shape[1];
	size_t n = o->rows, block = n * dim * sizeof(float);
	struct moco *m;

	if (objective_same_width(o) < 0)
		return -1;
	if (queue_fits("moco", "k", size, o->rows * (o->input_count / 2)) < 0)
		return -1;
	queue_add(o, "loss.queue", "loss.pointer", size, dim, 0);
	m = o->room = xcalloc(1, sizeof(*m));
	m->softmax = softmax_new(o->rows, (int)size, (int)dim, (int)dim);
	m->q = xaligned(block);
	m->k[0] = xaligned(block);
	m->k[1] = xaligned(block);
	m->q_norm = xaligned(n * sizeof(float));
	m->k_norm = xaligned(n * sizeof(float));
	m->positive = xaligned(n * sizeof(float));
	return 0;
}

void moco_release(struct objective *o)
{
	struct moco *m = o->room;

	softmax_free(m->softmax);
	free(m->q);
	free(m->k[0]);
	free(m->k[1]);
	free(m->q_norm);
	free(m->k_norm);
	free(m->positive);
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

/* One direction: query input against the keys k (n, dim), its gradient times share. */
static void pair(struct objective *o, struct loss_input *query, const float *k, double share)
{
	struct moco *m = o->room;
	int n = o->rows, dim = (int)query->value.shape[1];
	double t = choice_value(&o->choice, "t");
	float *d = tensor_f32(&query->gradient); /* (n, dim) */

	unit_rows(tensor_f32(&query->value), n, dim, m->q, m->q_norm);
	unit_dots(m->q, k, n, dim, m->positive);
	softmax_run(m->softmax, m->q, m->positive, tensor_f32(&o->state[QUEUE]), tensor_f32(&o->state[QUEUE]), t);
	for (int i = 0; i < n; i++) {
		double logit = m->positive[i] / t, rest = -expm1(logit - m->softmax->lse[i]); /* 1 - p_own, also when nearly 0 */
		const float *mean = m->softmax->mean + (size_t)i * dim;

		m->loss += share * (m->softmax->lse[i] - logit);
		m->first += m->softmax->above[i] < 1;
		m->five += m->softmax->above[i] < 5;
		for (int c = 0; c < dim; c++)
			d[(size_t)i * dim + c] = (float)(share / (n * t) * (mean[c] - rest * k[(size_t)i * dim + c]));
	}
	unit_rows_backward(m->q, m->q_norm, n, dim, d);
}

int moco_evaluate(struct objective *o)
{
	struct moco *m = o->room;
	int pairs = o->input_count / 2, dim = (int)o->inputs[0].value.shape[1]; /* inputs: q0 k1, or q0 q1 k0 k1 */

	m->loss = 0;
	m->first = m->five = 0;
	for (int i = 0; i < pairs; i++)
		unit_rows(tensor_f32(&o->inputs[pairs + i].value), o->rows, dim, m->k[i], m->k_norm);
	for (int i = 0; i < pairs; i++)
		pair(o, &o->inputs[i], m->k[pairs - 1 - i], 1.0 / pairs);
	for (int i = 0; i < pairs; i++)
		queue_push(&o->state[QUEUE], &o->state[POINTER], m->k[i], o->rows);
	objective_set(o, "loss", m->loss / o->rows);
	objective_set(o, "top1", 100.0 * m->first / (pairs * o->rows));
	objective_set(o, "top5", 100.0 * m->five / (pairs * o->rows));
	return 0;
}
