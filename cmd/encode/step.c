/* step.c - one training step: embeddings out, gradients in, weights moved; part by part, also where a step comes whole */
#include "cmd/encode/training.h"

#include <math.h>

/* --- what the loss wants --- */

/* Views are asked for ahead, so what a run asks for stays what it was. */
static int check_want(const struct training *r, const struct record *want, int64_t step)
{
	bool same = true;

	if (want->kind != KIND_WANT)
		return fail("the loss sent '%s' of step %lld where its want of step %lld is due", kind_name(want->kind),
			    (long long)record_int(want, "step", -1) + 1, (long long)step + 1);
	if (record_int(want, "step", -1) != step)
		return fail("the loss asked for step %lld, but step %lld is due", (long long)record_int(want, "step", -1) + 1,
			    (long long)step + 1);
	if (record_int(want, "part", 0) != 0 || record_int(want, "parts", 1) != 1)
		return fail("the loss asked for a part of step %lld: a trained step is asked for whole", (long long)step + 1);
	if (want->name_count == 0)
		return fail("the loss asked for no name in step %lld", (long long)step + 1);
	for (int i = 0; r->demand.wanted && i < want->name_count; i++)
		same &= record_named(r->demand.wanted, want->names[i]);
	if (r->demand.wanted && (!same || want->name_count != r->demand.wanted->name_count))
		return fail("the loss asked for other names in step %lld than before: they stay the same through a run",
			    (long long)step + 1);
	return 0;
}

/* --- what the loss gets --- */

static void begin_answer(struct training *r)
{
	struct demand *d = &r->demand;

	record_free(r->answer);
	r->answer = record_new(KIND_BATCH);
	for (int i = 0; i < d->wanted->name_count; i++) {
		const struct tensor *offer = record_offered(r->schema, d->wanted->names[i]);

		record_add(r->answer, tensor_new(offer->name, offer->dtype, offer->rank, offer->shape));
	}
	for (int i = 0; i < d->count; i++)
		d->wishes[i].rows = tensor_f32(record_find(r->answer, d->wishes[i].text));
}

static void put(const struct wish *w, struct span rows, const float *from)
{
	memcpy(w->rows + (size_t)rows.first * w->width, from, (size_t)rows.count * w->width * sizeof(float));
}

/* What the loss asked for and somebody in front makes. */
static void pass_on(const struct training *r)
{
	const struct record *held = r->feed.held;

	for (int i = 0; i < held->tensor_count; i++) {
		const struct tensor *t = &held->tensors[i];
		size_t bytes = tensor_bytes(t) / t->shape[0];

		if (record_named(r->demand.wanted, t->name) && record_named(r->demand.names[FOR_QUERIES], t->name))
			memcpy((uint8_t *)record_find(r->answer, t->name)->data + r->feed.held_row * bytes, t->data,
			       t->shape[0] * bytes);
	}
}

/* Embeddings whose squares no f32 holds end the run. In its first step since a save they tell that the save is of no use. */
static int check_query(struct training *r, const float *q, int64_t n)
{
	static const float most = 1e18f;
	bool good = true, saved = r->run.step > 0 && r->run.saved == r->run.step;
	char *cause;

	for (int64_t i = 0; i < n; i++)
		good &= fabsf(q[i]) <= most;
	if (good)
		return 0;
	fail("the embeddings of step %lld are not finite", (long long)r->run.step + 1);
	gradients_blame(r);
	if (!saved)
		return -1;
	cause = xstrdup(why());
	if (rundir_step_back(&r->run))
		fail("%s; the checkpoint before it has taken the place of the last one, which is of no use: the same line goes "
		     "on from there",
		     cause);
	else
		fail("%s; the checkpoint is of no use: give --fresh to start over", cause);
	free(cause);
	return -1;
}

/* What the loss wants of a view's query. */
static int put_outputs(struct training *r, int view, int part)
{
	struct span rows = r->demand.parts[part];

	for (int i = 0; i < r->demand.count; i++) {
		const struct wish *w = &r->demand.wishes[i];
		const float *x;

		if (w->by_key || w->view != view)
			continue;
		x = trainer_output(&r->t, view, part, w->output);
		if (w->trained && check_query(r, x, (int64_t)rows.count * w->width) < 0)
			return -1;
		put(w, rows, x);
	}
	return 0;
}

static int embed_part(struct training *r, int part)
{
	struct span rows = r->demand.parts[part];
	int taken = feed_part(r, FOR_QUERIES, part);

	if (taken > 0)
		pass_on(r);
	for (int view = 0; taken >= 0 && view < r->view_count; view++) {
		if (!r->demand.queries[view])
			continue;
		trainer_query(&r->t, view, part, feed_rows(r, view, rows.first), rows.count);
		if (put_outputs(r, view, part) < 0)
			return -1;
	}
	return taken;
}

/* The rows of a key group come from its cells, and go back there. */
static int embed_group(struct training *r, int group)
{
	const struct demand *d = &r->demand;
	int rows = feed_group(r, group);

	for (int i = 0; rows > 0 && i < d->count; i++) {
		const struct wish *w = &d->wishes[i];
		const struct span *cells = d->cells + group * d->cell_count;
		const float *k = w->by_key ? trainer_key(&r->t, w->view, group, feed_gathered(r, w->view, group), rows) : NULL;

		for (int c = 0; k && c < d->cell_count; k += (size_t)cells[c].count * w->width, c++)
			put(w, cells[c], k);
	}
	return rows < 0 ? -1 : 0;
}

/* Makes the answer: queries of all parts, then keys of all groups. */
static int embed(struct training *r)
{
	begin_answer(r);
	for (int part = 0; part < r->parts; part++)
		if (embed_part(r, part) < 0)
			return -1;
	if (r->demand.has_keys)
		trainer_move_key(&r->t);
	for (int group = 0; r->demand.has_keys && group < r->parts; group++)
		if (embed_group(r, group) < 0)
			return -1;
	return 0;
}

static int send_batch(struct training *r, const struct request *want, bool save)
{
	record_set_int(r->answer, "step", r->run.step);
	record_set_int(r->answer, "part", 0);
	record_set_int(r->answer, "parts", 1);
	record_set_int(r->answer, "epoch", r->run.step / r->steps_per_epoch);
	record_set_real(r->answer, "lr", trainer_rate(&r->t, r->run.step));
	record_set_bool(r->answer, "save", save);
	if (r->led && stage_signal(r->s))
		record_set_int(r->answer, "stop", stage_signal(r->s));
	return stage_answer(r->s, want, r->answer);
}

/* --- gradients --- */

/* Embeddings that come again must be those the loss saw, or its gradient belongs to others. */
static int check_again(const struct training *r, int view, int part, int64_t step)
{
	struct span rows = r->demand.parts[part];
	bool same = true;

	for (int i = 0; i < r->demand.count; i++) {
		const struct wish *w = &r->demand.wishes[i];

		if (w->view == view && w->trained)
			same &= memcmp(w->rows + (size_t)rows.first * w->width, trainer_output(&r->t, view, part, w->output),
				       (size_t)rows.count * w->width * sizeof(float)) == 0;
	}
	if (same)
		return 0;
	return fail("part %d/%d of step %lld came out otherwise the second time: do all stages in front give the same views?",
		    part, r->parts, (long long)step + 1);
}

static int backward(struct training *r, const struct gradients *g, int view, int part, int64_t step)
{
	struct span rows = r->demand.parts[part];
	const float *d[OUTPUTS] = { NULL };

	trainer_query_again(&r->t, view, part, feed_rows(r, view, rows.first), rows.count);
	if (check_again(r, view, part, step) < 0)
		return -1;
	for (int i = 0; i < OUTPUTS; i++)
		if (g->d[view][i])
			d[i] = tensor_f32(g->d[view][i]) + rows.first * g->d[view][i]->shape[1];
	trainer_backward(&r->t, view, part, d);
	return 0;
}

static int apply(struct training *r, const struct record *grad, int64_t step)
{
	struct gradients g;

	if (gradients_find(r, grad, step, &g) < 0)
		return -1;
	for (int part = 0; part < r->parts; part++) {
		if (feed_part(r, FOR_GRADIENTS, part) < 0)
			return -1;
		for (int view = 0; view < r->view_count; view++)
			if (g.any[view] && backward(r, &g, view, part, step) < 0)
				return -1;
	}
	return trainer_update(&r->t, step) < 0 ? gradients_blame(r) : 0;
}

/* --- the step --- */

/* The loss's next want. 1, 0 when the loss has ended, -1. */
static int take_want(struct training *r, struct request *want)
{
	int result = 1;

	if (r->want.record)
		*want = r->want;
	else
		result = stage_next(r->s, want);
	r->want.record = NULL;
	meter_spent(r->t.meter, METER_LOSS);
	if (result <= 0)
		return result;
	if (r->led && r->run.step >= r->end && record_int(want->record, "step", -1) >= r->end)
		return 0;
	if (check_want(r, want->record, r->run.step) < 0)
		return -1;
	if (!r->demand.wanted && demand_init(r, want->record) < 0)
		return -1;
	if (!r->answer)
		feed_init(r);
	return 1;
}

static int take_gradient(struct training *r, struct request *grad)
{
	int result;

	meter_spent(r->t.meter, METER_REST);
	result = stage_next(r->s, grad);
	meter_spent(r->t.meter, METER_LOSS);
	if (result <= 0)
		return result < 0 ? -1 : fail_code(EXIT_GONE, "the loss ended before the run did");
	return gradients_check(r, grad->record, r->run.step);
}

/* Whether this step is saved: of several trained stages the last one decides, when it wants the step's gradient. */
static bool decide(struct training *r, const struct record *grad)
{
	int64_t step = r->run.step;

	if (!r->led) {
		r->stop = stage_signal(r->s);
		return (step + 1) % r->save_every == 0 || step + 1 == r->end || r->stop;
	}
	r->stop = (int)record_int(grad, "stop", 0);
	if (record_bool(grad, "last", false))
		r->end = step + 1;
	return record_bool(grad, "save", false);
}

static int save_step(struct training *r, const struct record *grad)
{
	char *cause;

	if (trainer_check(&r->t) < 0) {
		cause = xstrdup(why());
		fail("step %lld is not saved: %s", (long long)r->run.step, cause);
		free(cause);
		return gradients_blame(r);
	}
	return rundir_save(&r->run, &r->t, grad);
}

int train_step(struct training *r)
{
	struct request want, grad;
	int64_t step;
	bool save;
	int result = take_want(r, &want);

	if (result <= 0)
		return result;
	step = r->run.step;
	trainer_begin(&r->t, step);
	if (embed(r) < 0)
		return -1;
	save = r->led ? false : decide(r, NULL);
	if (send_batch(r, &want, save) < 0 || take_gradient(r, &grad) < 0)
		return -1;
	if (r->led)
		save = decide(r, grad.record);
	if (save && rundir_expect(&r->run, grad.record) < 0)
		return -1;
	if (r->leads) {
		gradients_pass(r, grad.record, step, save);
		feed_allow(r, step + 1);
	}
	if (apply(r, grad.record, step) < 0)
		return -1;
	r->run.step = step + 1;
	if (save && save_step(r, grad.record) < 0)
		return -1;
	meter_step(r->t.meter);
	return 1;
}

void step_release(struct training *r)
{
	record_free(r->answer);
	feed_release(&r->feed);
	demand_release(&r->demand);
}
