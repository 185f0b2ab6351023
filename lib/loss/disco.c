/*
 * disco.c - a student's embeddings next to its teacher's, beside MoCo's own loss (DisCo, Gao et al. 2022, eq. 1 to 4)
 *
 *	L = InfoNCE(q0, k1) + w (S(q0, t0) + S(q1, t1)),      S(a, b) = mean over the rows of |u(a) - u(b)|^2 = 2 - 2 cos
 *
 * Its code sums S over the batch of a device where this takes the mean: 32 rows a device are w=32. only=1 leaves InfoNCE out.
 */
#include "lib/loss/loss.h"
#include "lib/loss/nce.h"
#include "lib/loss/queue.h"
#include "lib/loss/unit.h"

#include <math.h>

const struct param disco_params[] = {
	{ "t", 0.2, 1e-3, 100, "temperature of InfoNCE", NULL },
	{ "k", 65536, 1, 1 << 26, "queue size, a multiple of the batch", NULL },
	{ "w", 32, 0, 1e6, "weight of the distances to the teacher", NULL },
	{ "only", 0, 0, 1, "1: without InfoNCE", NULL },
	{ NULL, 0, 0, 0, NULL, NULL },
};

enum { QUEUE, POINTER };
enum { Q, T = 2, K = 4 };    /* q0 q1 t0 t1 k1 */

struct disco {
	struct nce *nce;         /* NULL: left out */
	float *unit, *norm;      /* (n, dim) of whichever is the target, (n) */
};

const char *disco_choose(const struct choice *c)
{
	return choice_value(c, "only") > 0 ? "q0 q1 t0 t1" : "q0 q1 t0 t1 k1";
}

int disco_prepare(struct objective *o)
{
	int64_t k = (int64_t)choice_value(&o->choice, "k"), dim = o->inputs[Q].value.shape[1];
	struct disco *x = o->room = xcalloc(1, sizeof(*x));

	if (objective_same_width(o) < 0)
		return -1;
	x->unit = xaligned((size_t)o->rows * dim * sizeof(float));
	x->norm = xaligned(o->rows * sizeof(float));
	if (o->input_count == K)
		return 0;
	if (queue_fits("disco", "k", k, o->rows) < 0)
		return -1;
	queue_add(o, "loss.queue", "loss.pointer", k, dim, 0);
	x->nce = nce_new(o->rows, (int)k, (int)dim);
	return 0;
}

void disco_release(struct objective *o)
{
	struct disco *x = o->room;

	nce_free(x->nce);
	free(x->unit);
	free(x->norm);
	free(x);
}

int disco_accept(const struct objective *o)
{
	return o->state_count ? queue_accept(&o->state[POINTER], &o->state[QUEUE], o->rows) : 0;
}

double disco_expected(const struct objective *o)
{
	return 4 * choice_value(&o->choice, "w") + (o->state_count ? log(choice_value(&o->choice, "k") + 1) : 0);
}

/* InfoNCE of q0 and k1, and its gradient; the keys are pushed. */
static double contrast(struct objective *o)
{
	struct disco *x = o->room;

	nce_begin(x->nce);
	nce_read(x->nce, &o->inputs[Q].value);
	unit_rows(tensor_f32(&o->inputs[K].value), o->rows, x->nce->dim, x->unit, x->norm);
	nce_contrast(x->nce, x->unit, tensor_f32(&o->state[QUEUE]), choice_value(&o->choice, "t"), 1, NULL, 0,
		     tensor_f32(&o->inputs[Q].gradient));
	queue_push(&o->state[QUEUE], &o->state[POINTER], x->unit, o->rows);
	return x->nce->loss / o->rows;
}

int disco_evaluate(struct objective *o)
{
	struct disco *x = o->room;
	int n = o->rows, dim = (int)o->inputs[Q].value.shape[1];
	double w = choice_value(&o->choice, "w"), nce = x->nce ? contrast(o) : 0, distance = 0;

	for (int view = 0; view < 2; view++) {
		struct loss_input *q = &o->inputs[Q + view];

		unit_rows(tensor_f32(&o->inputs[T + view].value), n, dim, x->unit, x->norm);
		distance += 2 - 2.0 / n * unit_cosines(tensor_f32(&q->value), x->unit, n, dim, -2 * w / n,
						       tensor_f32(&q->gradient));
	}
	objective_set(o, "loss", nce + w * distance);
	if (x->nce)
		nce_ranks(x->nce, o);
	objective_set(o, "distance", distance);
	return 0;
}
