/*
 * compress.c - the student's distribution over a bank of teachers as the teacher's (CompRess, Koohpayegani et al. 2020, eq. 3)
 *
 *	y = softmax(u(tfeature).M / t),   z = softmax(u(q).M / t),   L = mean of KL(y || z)
 *
 * M: the bank of teachers' rows, pushed after use; q has the teacher's width. banks=2: z over a second bank, of the student's own
 * keys (k0, encode --ema .999), pushed at the same slots.
 */
#include "lib/loss/distil.h"

const struct param compress_params[] = {
	{ "t", 0.04, 1e-4, 100, "temperature of both", NULL },
	{ "k", 128000, 1, 1 << 26, "size of a bank, a multiple of the batch", NULL },
	{ "banks", 1, 1, 2, "2: the student has a bank of its own keys, k0", NULL },
	{ NULL, 0, 0, 0, NULL, NULL },
};

enum { BANK, POINTER, KEYS, KEYS_POINTER };
enum { Q, T, K };

struct compress {
	struct distil *match;
	float *k, *norm;           /* unit rows of the student's keys */
};

const char *compress_choose(const struct choice *c)
{
	return choice_value(c, "banks") > 1 ? "q0 tfeature0 k0" : "q0 tfeature0";
}

static bool has_two(const struct objective *o)
{
	return o->input_count > K;
}

int compress_prepare(struct objective *o)
{
	int64_t k = (int64_t)choice_value(&o->choice, "k"), dim = o->inputs[Q].value.shape[1], wide = o->inputs[T].value.shape[1];
	struct compress *x = o->room = xcalloc(1, sizeof(*x));

	if (queue_fits("compress", "k", k, o->rows) < 0 || (!has_two(o) && objective_same_width(o) < 0))
		return -1;
	queue_add(o, "loss.bank", "loss.pointer", k, wide, 0);
	x->match = distil_new(o->rows, (int)k, (int)dim, (int)wide);
	x->match->teacher->cosines = true;
	if (!has_two(o))
		return 0;
	queue_add(o, "loss.keys", "loss.keys_pointer", k, dim, 1);
	x->k = xaligned((size_t)o->rows * dim * sizeof(float));
	x->norm = xaligned(o->rows * sizeof(float));
	return 0;
}

void compress_release(struct objective *o)
{
	struct compress *x = o->room;

	distil_free(x->match);
	free(x->k);
	free(x->norm);
	free(x);
}

int compress_accept(const struct objective *o)
{
	if (queue_accept(&o->state[POINTER], &o->state[BANK], o->rows) < 0)
		return -1;
	return has_two(o) ? queue_accept(&o->state[KEYS_POINTER], &o->state[KEYS], o->rows) : 0;
}

/* Both spread evenly. */
double compress_expected(const struct objective *o)
{
	(void)o;
	return 0;
}

/* Mean over the rows of sum_j y_j log y_j. */
static double negative_entropy(const struct softmax *teacher, double t)
{
	double sum = 0;

	for (int i = 0; i < teacher->n; i++)
		sum += teacher->cosine[i] / t - teacher->lse[i];
	return sum / teacher->n;
}

int compress_evaluate(struct objective *o)
{
	struct compress *x = o->room;
	const struct tensor *bank = &o->state[BANK], *keys = &o->state[has_two(o) ? KEYS : BANK];
	double t = choice_value(&o->choice, "t"), loss;

	distil_read(x->match, 0, &o->inputs[Q].value, &o->inputs[T].value);
	distil_targets(x->match, tensor_f32(bank), tensor_f32(keys), NULL, t);
	loss = distil_match(x->match, tensor_f32(keys), NULL, t, tensor_f32(&o->inputs[Q].gradient)) +
	       negative_entropy(x->match->teacher, t);
	queue_push(&o->state[BANK], &o->state[POINTER], x->match->t, o->rows);
	if (has_two(o)) {
		unit_rows(tensor_f32(&o->inputs[K].value), o->rows, x->match->dim, x->k, x->norm);
		queue_push(&o->state[KEYS], &o->state[KEYS_POINTER], x->k, o->rows);
	}
	objective_set(o, "loss", loss);
	return 0;
}
