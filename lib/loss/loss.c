#include "lib/loss/loss.h"
#include "lib/loss/unit.h"
#include "lib/tensor/names.h"

#include <math.h>

#define OF(name) .prepare = name##_prepare, .expected = name##_expected, .evaluate = name##_evaluate

static const struct loss losses[] = {
	{ { "moco", "InfoNCE against a queue of keys (MoCo, He et al. 2020)", moco_params }, "q0 k1", OF(moco),
	  .choose = moco_choose, .accept = moco_accept, .release = moco_release },
	{ { "simclr", "NT-Xent: both views of a batch against each other (Chen et al. 2020)", simclr_params }, "q0 q1",
	  OF(simclr), .release = simclr_release },
	{ { "supcon", "the same, all views of a class being positives (Khosla et al. 2020)", supcon_params }, "q0 q1 label",
	  OF(supcon), .release = supcon_release },
	{ { "simsiam", "cosine of predictions and the other view's head (Chen and He 2021)", simsiam_params },
	  "p0 p1 q0 q1", OF(simsiam) },
	{ { "byol", "cosine of predictions and the other view's key (Grill et al. 2020)", byol_params },
	  "p0 p1 k0 k1", OF(byol) },
	{ { "directpred", "BYOL, its predictor set by the heads' correlation (Tian et al. 2021)", directpred_params },
	  "q0 q1 k0 k1", OF(directpred), .release = directpred_release },
	{ { "barlow", "dimensions that agree between views and not with others (Zbontar et al. 2021)", barlow_params },
	  "q0 q1", OF(barlow), .release = barlow_release },
	{ { "ce", "cross-entropy with labels: the supervised reference", ce_params }, "q0 label", OF(ce) },
	{ { "seed", "a teacher's similarities to a queue (SEED, Fang et al. 2021)", seed_params }, "q0 t0",
	  OF(seed), .choose = seed_choose, .accept = seed_accept, .release = seed_release },
	{ { "compress", "a teacher's distribution over a bank (CompRess, Koohpayegani et al. 2020)", compress_params },
	  "q0 tfeature0", OF(compress), .choose = compress_choose, .accept = compress_accept, .release = compress_release },
	{ { "simreg", "regression of a teacher's feature (SimReg, Navaneet et al. 2021)", simreg_params }, "q0 tfeature0",
	  OF(simreg), .choose = simreg_choose },
	{ { "disco", "a teacher's embeddings beside MoCo's loss (DisCo, Gao et al. 2022)", disco_params }, "q0 q1 t0 t1 k1",
	  OF(disco), .choose = disco_choose, .accept = disco_accept, .release = disco_release },
	{ { "bingo", "a teacher's bags of like images (BINGO, Xu et al. 2022)", bingo_params }, "q0 q2 t1 t3 q4 mix",
	  OF(bingo), .choose = bingo_choose, .accept = bingo_accept, .release = bingo_release },
	{ { "simdis", "predictions of averages, teachers, views (SimDis, Gu et al. 2021)", simdis_params },
	  "psemadv0 psemadv1 ptemadv0 ptemadv1 k0 k1 tk0 tk1", OF(simdis), .choose = simdis_choose, .release = simdis_release },
	{ { "crd", "a teacher's rows against all others (CRD, Tian et al. 2020)", crd_params }, "q0 t0", OF(crd),
	  .accept = crd_accept, .release = crd_release },
	{ { "kd", "a teacher's class probabilities beside labels (Hinton et al. 2015)", kd_params }, "q0 t0 label", OF(kd),
	  .release = kd_release },
	{ { "rkd", "a teacher's distances and angles (RKD, Park et al. 2019)", rkd_params }, "q0 t0", OF(rkd),
	  .choose = rkd_choose, .release = rkd_release },
};
const struct table loss_table = TABLE("loss", losses);

int loss_needs(const struct choice *c, char names[LOSS_INPUTS][LOSS_NAME])
{
	const struct loss *loss = (const struct loss *)c->entry;
	const char *list = loss->choose ? loss->choose(c) : loss->needs;
	int n = 0, used;

	while (n < LOSS_INPUTS && sscanf(list, " %15s%n", names[n], &used) == 1) {
		list += used;
		n++;
	}
	return n;
}

static const struct tensor *find(const struct tensor *tensors, int count, const char *name)
{
	for (int i = 0; i < count; i++)
		if (strcmp(tensors[i].name, name) == 0)
			return &tensors[i];
	return NULL;
}

/* --- life cycle --- */

static const struct shape {
	enum dtype dtype;
	int rank;
	const char *text;
} shapes[] = { { F32, 2, "f32[rows,dim]" }, { I32, 1, "i32[rows]" }, { F32, 1, "f32[rows]" } };
enum { EMBEDDINGS, LABELS, SHARES };

static int add_input(struct objective *o, const char *name, const struct tensor *given)
{
	struct loss_input *in = &o->inputs[o->input_count++];
	char spec[64], d_name[LOSS_NAME + 2];
	const struct name *row;
	const struct shape *shape;
	int view;

	if (!given)
		return fail_code(EXIT_USAGE, "loss '%s' needs '%s', and nobody gives it: %s", o->choice.spelling, name,
				 name_remedy(name));
	row = name_find(name, &view);
	shape = &shapes[row == &name_rows[NAME_LABEL] ? LABELS : row == &name_rows[NAME_MIX] ? SHARES : EMBEDDINGS];
	if (given->dtype != shape->dtype || given->rank != shape->rank || (given->rank > 1 && given->shape[1] < 1))
		return fail("'%s' is %s, not %s", name, tensor_spec(given, spec, sizeof(spec)), shape->text);
	if (given->shape[0] < 1 || (o->input_count > 1 && given->shape[0] != o->rows))
		return fail("'%s' is %s, not of %d rows", name, tensor_spec(given, spec, sizeof(spec)), MAX(1, o->rows));
	o->rows = (int)given->shape[0];
	in->value = tensor_borrow(name, given->dtype, given->rank, given->shape, NULL);
	if (name_is_trained(name)) {
		format(d_name, sizeof(d_name), "d:%s", name);
		in->gradient = tensor_new(d_name, F32, 2, given->shape);
	}
	return 0;
}

int objective_same_width(const struct objective *o)
{
	const struct tensor *first = &o->inputs[0].value;

	for (int i = 1; i < o->input_count; i++)
		if (o->inputs[i].value.rank == 2 && o->inputs[i].value.shape[1] != first->shape[1])
			return fail_code(EXIT_USAGE, "'%s' and '%s' differ in width, %lld and %lld: loss '%s' compares them",
					 first->name, o->inputs[i].value.name, (long long)first->shape[1],
					 (long long)o->inputs[i].value.shape[1], o->loss->entry.name);
	return 0;
}

int objective_word(const struct objective *o, const char *key, const char *words)
{
	const char *text = choice_text(&o->choice, key);
	char word[32];
	int used;

	for (int i = 0, at = 0; sscanf(words + at, " %31s%n", word, &used) == 1; at += used, i++)
		if (strcmp(text, word) == 0)
			return i;
	return fail_code(EXIT_USAGE, "loss %s has no %s=%s: it is one of %s", o->loss->entry.name, key, text, words);
}

static int prepare(struct objective *o, const struct tensor *given, int count)
{
	char names[LOSS_INPUTS][LOSS_NAME];
	int n = loss_needs(&o->choice, names);

	for (int i = 0; i < n; i++)
		if (add_input(o, names[i], find(given, count, names[i])) < 0)
			return -1;
	o->unit = xaligned(tensor_bytes(&o->inputs[0].value));
	o->norm = xaligned(o->rows * sizeof(float));
	return o->loss->prepare(o);
}

struct objective *objective_new(const struct choice *c, const struct tensor *given, int count, uint64_t seed, int64_t images)
{
	struct objective *o = xcalloc(1, sizeof(*o));

	o->loss = (const struct loss *)c->entry;
	o->choice = *c;
	o->seed = seed;
	o->images = images;
	if (prepare(o, given, count) == 0)
		return o;
	objective_free(o);
	return NULL;
}

void objective_free(struct objective *o)
{
	if (!o)
		return;
	if (o->room && o->loss->release)
		o->loss->release(o);
	else
		free(o->room);
	for (int i = 0; i < o->input_count; i++)
		tensor_release(&o->inputs[i].gradient);
	for (int i = 0; i < o->state_count; i++)
		tensor_release(&o->state[i]);
	free(o->unit);
	free(o->norm);
	free(o);
}

/* --- state --- */

struct tensor *objective_add_state(struct objective *o, const char *name, enum dtype d, int rank, const int64_t *shape)
{
	if (o->state_count == LOSS_STATES)
		bug("loss '%s' has more than %d tensors of state", o->loss->entry.name, LOSS_STATES);
	o->state[o->state_count] = tensor_new(name, d, rank, shape);
	return &o->state[o->state_count++];
}

/* Memory that a send still reads is left to it. */
static void own(struct tensor *t, bool keep)
{
	struct tensor fresh;

	if (!t->owner || !buffer_shared(t->owner))
		return;
	fresh = tensor_new(t->name, t->dtype, t->rank, t->shape);
	if (keep)
		memcpy(fresh.data, t->data, tensor_bytes(t));
	tensor_release(t);
	*t = fresh;
}

static int restore_one(struct tensor *into, const struct tensor *from)
{
	char have[64], want[64];

	if (!from)
		return fail_code(EXIT_USAGE, "the saved run has no '%s': it was trained with another loss", into->name);
	if (!tensor_same_spec(into, from))
		return fail_code(EXIT_USAGE, "'%s' of the saved run is %s, not %s: give loss the parameters of that run, "
				 "or start over with encode --fresh",
				 into->name, tensor_spec(from, have, sizeof(have)), tensor_spec(into, want, sizeof(want)));
	own(into, false);
	memcpy(into->data, from->data, tensor_bytes(into));
	return 0;
}

int objective_restore(struct objective *o, const struct tensor *tensors, int count)
{
	for (int i = 0; count > 0 && i < o->state_count; i++)
		if (restore_one(&o->state[i], find(tensors, count, o->state[i].name)) < 0)
			return -1;
	return count > 0 && o->loss->accept ? o->loss->accept(o) : 0;
}

/* --- a step --- */

void objective_set(struct objective *o, const char *scalar, double value)
{
	if (o->scalar_count == LOSS_SCALARS)
		bug("loss '%s' has more than %d scalars", o->loss->entry.name, LOSS_SCALARS);
	o->scalars[o->scalar_count++] = (struct loss_scalar){ scalar, value };
}

double objective_scalar(const struct objective *o, const char *name)
{
	for (int i = 0; i < o->scalar_count; i++)
		if (strcmp(o->scalars[i].name, name) == 0)
			return o->scalars[i].value;
	return NAN;
}

double objective_expected(const struct objective *o)
{
	return o->loss->expected(o);
}

static int check_finite(int64_t step, const struct tensor *t)
{
	int64_t bad = t->data && t->dtype == F32 ? tensor_nonfinite(tensor_f32(t), tensor_count(t)) : 0;

	if (bad == 0)
		return 0;
	return fail("step %lld: %lld of %lld values of '%s' are not finite: try a lower learning rate", (long long)step + 1,
		    (long long)bad, (long long)tensor_count(t), t->name);
}

static int take_input(struct loss_input *in, int64_t step, const struct tensor *batch, int count)
{
	const struct tensor *t = find(batch, count, in->value.name);
	char have[64], want[64];

	if (!t)
		return fail("step %lld: '%s' is missing", (long long)step + 1, in->value.name);
	if (!tensor_same_spec(t, &in->value))
		return fail("step %lld: '%s' is %s, not %s", (long long)step + 1, t->name, tensor_spec(t, have, sizeof(have)),
			    tensor_spec(&in->value, want, sizeof(want)));
	in->value.data = t->data;
	own(&in->gradient, false);
	if (in->gradient.data)
		memset(in->gradient.data, 0, tensor_bytes(&in->gradient));
	return check_finite(step, t);
}

/* Of the first input: the feature std that the collapse rule reads. */
static double feature_std(const struct objective *o)
{
	int dim = (int)o->inputs[0].value.shape[1];

	unit_rows(tensor_f32(&o->inputs[0].value), o->rows, dim, o->unit, o->norm);
	return unit_std(o->unit, o->rows, dim);
}

int objective_step(struct objective *o, int64_t step, const struct tensor *batch, int count)
{
	for (int i = 0; i < o->input_count; i++)
		if (take_input(&o->inputs[i], step, batch, count) < 0)
			return -1;
	for (int i = 0; i < o->state_count; i++)
		own(&o->state[i], true);
	o->scalar_count = 0;
	o->step = step;
	if (o->loss->evaluate(o) < 0)
		return -1;
	objective_set(o, "std", feature_std(o));
	if (!isfinite(objective_scalar(o, "loss")))
		return fail("step %lld: the loss is not finite: try a lower learning rate", (long long)step + 1);
	for (int i = 0; i < o->input_count; i++)
		if (check_finite(step, &o->inputs[i].gradient) < 0)
			return -1;
	return 0;
}
