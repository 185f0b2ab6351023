/* step.c - one training step: embeddings out, gradients in, weights moved; part by part, also where a step comes whole */
#include "cmd/encode/training.h"

#include "lib/nn/train/parts.h"

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
	for (int i = 0; r->wanted && i < want->name_count; i++)
		same &= record_named(r->wanted, want->names[i]);
	if (r->wanted && (!same || want->name_count != r->wanted->name_count))
		return fail("the loss asked for other names in step %lld than before: they stay the same through a run",
			    (long long)step + 1);
	return 0;
}

/* --- what the loss gets --- */

static void begin_answer(struct training *r)
{
	record_free(r->answer);
	r->answer = record_new(KIND_BATCH);
	for (int i = 0; i < r->wanted->name_count; i++) {
		const struct tensor *offer = record_offered(r->schema, r->wanted->names[i]);

		record_add(r->answer, tensor_new(offer->name, offer->dtype, offer->rank, offer->shape));
	}
}

static void put(const struct training *r, const char *name, int row, int rows, const void *from)
{
	const struct tensor *to = record_find(r->answer, name);
	size_t bytes = tensor_bytes(to) / r->batch;

	memcpy((uint8_t *)to->data + row * bytes, from, rows * bytes);
}

static void put_own(const struct training *r, const char *prefix, int view, int row, int rows, const float *from)
{
	char name[TENSOR_NAME];

	snprintf(name, sizeof(name), "%s%d", prefix, view);
	put(r, name, row, rows, from);
}

/* What the loss asked for and somebody in front makes. */
static void pass_on(const struct training *r)
{
	for (int i = 0; i < r->held->tensor_count; i++) {
		const struct tensor *t = &r->held->tensors[i];

		if (record_named(r->wanted, t->name) && record_named(r->names[FOR_QUERIES], t->name))
			put(r, t->name, r->held_row, (int)t->shape[0], t->data);
	}
}

/* Adds to the sentence who led there: a loss whose gradients no network can follow, or the rate. */
static int blame(const struct training *r)
{
	static const float absurd = 1e6f; /* of a mean over a batch it is well below 1 */
	char *cause = xstrdup(why());

	if (r->steepest > absurd)
		fail("%s: the loss sent gradients as large as %.1e in step %lld", cause, r->steepest,
		     (long long)r->steepest_step + 1);
	else
		fail("%s: try a smaller lr, a longer warm-up or a higher temperature", cause);
	free(cause);
	return -1;
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
	blame(r);
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

static int embed_part(struct training *r, int part)
{
	int row = part_start(r->batch, part, r->parts), rows = part_rows(r->batch, part, r->parts);
	int taken = feed_part(r, FOR_QUERIES, part);

	if (taken > 0)
		pass_on(r);
	for (int i = 0; taken >= 0 && i < r->view_count; i++) {
		const float *q;

		if (!r->trains[i] && !r->features[i])
			continue;
		q = trainer_query(&r->t, i, part, feed_rows(r, i, row), rows);
		if (r->trains[i] && check_query(r, q, (int64_t)rows * r->t.c.net.dim) < 0)
			return -1;
		if (r->trains[i])
			put_own(r, "q", i, row, rows, q);
		if (r->features[i])
			put_own(r, "feature", i, row, rows, trainer_feature(&r->t, i, part));
	}
	return taken;
}

/* Brings the rows of a key group together; how many. */
static int gather_group(struct training *r, int group)
{
	size_t bytes = (size_t)3 * r->t.c.net.height * r->t.c.net.width;
	int cells = key_cells(r->batch, r->parts), at = 0;

	for (int c = 0; c < cells; c++) {
		int cell = key_cell(r->batch, r->parts, group, c), row = part_start(r->batch, cell, r->parts * cells);
		int rows = part_rows(r->batch, cell, r->parts * cells);

		if (feed_part(r, FOR_KEYS, group) < 0)
			return -1;
		for (int i = 0; i < r->view_count; i++)
			if (r->gathered[i])
				memcpy(r->gathered[i] + at * bytes, feed_rows(r, i, row), rows * bytes);
		at += rows;
	}
	return at;
}

static void put_keys(const struct training *r, int view, int group, const float *k)
{
	int cells = key_cells(r->batch, r->parts);

	for (int c = 0; c < cells; c++) {
		int cell = key_cell(r->batch, r->parts, group, c), rows = part_rows(r->batch, cell, r->parts * cells);

		put_own(r, "k", view, part_start(r->batch, cell, r->parts * cells), rows, k);
		k += (size_t)rows * r->t.c.net.dim;
	}
}

static int embed_group(struct training *r, int group)
{
	int rows = gather_group(r, group);

	for (int i = 0; rows > 0 && i < r->view_count; i++)
		if (r->keys[i]) {
			int first = part_start(r->batch, group, r->parts);
			const uint8_t *views = r->gathered[i] ? r->gathered[i] : feed_rows(r, i, first);

			put_keys(r, i, group, trainer_key(&r->t, i, group, views, rows));
		}
	return rows < 0 ? -1 : 0;
}

static int embed(struct training *r)
{
	bool keys = false;

	begin_answer(r);
	for (int part = 0; part < r->parts; part++)
		if (embed_part(r, part) < 0)
			return -1;
	for (int i = 0; i < r->view_count; i++)
		keys |= r->keys[i];
	if (keys)
		trainer_move_key(&r->t);
	for (int group = 0; keys && group < r->parts; group++)
		if (embed_group(r, group) < 0)
			return -1;
	return 0;
}

static int send_batch(struct training *r, const struct request *q, int64_t step, bool save)
{
	record_set_int(r->answer, "step", step);
	record_set_int(r->answer, "part", 0);
	record_set_int(r->answer, "parts", 1);
	record_set_int(r->answer, "epoch", step / r->steps_per_epoch);
	record_set_real(r->answer, "lr", trainer_rate(&r->t, step));
	record_set_bool(r->answer, "save", save);
	return stage_answer(r->s, q, r->answer);
}

/* --- gradients --- */

static int check_grad(const struct training *r, const struct request *g, int64_t step)
{
	if (g->record->kind != KIND_GRAD || record_int(g->record, "step", -1) != step)
		return fail("the loss sent '%s' of step %lld in place of the gradient of step %lld", kind_name(g->record->kind),
			    (long long)record_int(g->record, "step", -1) + 1, (long long)step + 1);
	if (record_int(g->record, "incarnation", 0) != r->incarnation)
		return fail("refused a gradient that was made for another run of encode");
	return 0;
}

/* What comes besides gradients of what is trained and the loss's own state would be left out without a word. */
static int check_names(const struct training *r, const struct record *grad, int64_t step)
{
	for (int i = 0; i < grad->tensor_count; i++) {
		const char *name = grad->tensors[i].name;
		int view;

		if (strncmp(name, "loss.", 5) == 0 || (view_name(name, "d:q", r->view_count, &view) && r->trains[view]))
			continue;
		return fail("the loss sent '%s' in step %lld: a grad holds d:NAME for each q that was asked for, and the loss's "
			    "state as loss.*",
			    name, (long long)step + 1);
	}
	return 0;
}

/* The loss's own number is not used here, but one that is no number tells of a fault there. */
static int check_loss(const struct training *r, const struct record *grad, int64_t step)
{
	const struct scalar *x = record_scalar(grad, "loss");

	if (!x && step == r->first)
		note("the loss sends no scalar 'loss': it is trained all the same");
	if (x && (x->type == SCALAR_STR || x->type == SCALAR_BOOL || !isfinite(record_real(grad, "loss", 0))))
		return fail("the loss's scalar 'loss' in step %lld is no finite number", (long long)step + 1);
	return 0;
}

static void note_steepest(struct training *r, const struct tensor *d, int64_t step)
{
	if (step > r->steepest_step + r->save_every)
		r->steepest = 0;
	for (int64_t i = 0; i < tensor_count(d); i++)
		if (fabsf(tensor_f32(d)[i]) > r->steepest) {
			r->steepest = fabsf(tensor_f32(d)[i]);
			r->steepest_step = step;
		}
}

/* The gradient of a view's query; NULL after fail(). */
static const struct tensor *find_gradient(struct training *r, const struct record *grad, int view, int64_t step)
{
	char name[TENSOR_NAME], query[TENSOR_NAME], a[128], b[128];
	const struct tensor *d, *q;
	int64_t bad;

	snprintf(name, sizeof(name), "d:q%d", view);
	snprintf(query, sizeof(query), "q%d", view);
	d = record_find(grad, name);
	q = record_find(r->answer, query);
	if (!d) {
		fail("the loss sent no '%s' in step %lld", name, (long long)step + 1);
		return NULL;
	}
	if (!tensor_same_spec(d, q)) {
		fail("the loss sent '%s' as %s, but '%s' is %s: the shape does not fit", name, tensor_spec(d, a, sizeof(a)),
		     query, tensor_spec(q, b, sizeof(b)));
		return NULL;
	}
	note_steepest(r, d, step);
	bad = count_nonfinite(tensor_f32(d), tensor_count(d));
	if (bad > 0)
		fail("the loss sent %lld value%s in '%s' of step %lld that %s not finite", (long long)bad, bad == 1 ? "" : "s",
		     name, (long long)step + 1, bad == 1 ? "is" : "are");
	return bad > 0 ? NULL : d;
}

/* Embeddings that come again must be those the loss saw, or its gradient belongs to others. */
static int check_again(const struct training *r, int view, int part, const float *q, int64_t step)
{
	int row = part_start(r->batch, part, r->parts), rows = part_rows(r->batch, part, r->parts);
	char name[TENSOR_NAME];
	size_t dim = r->t.c.net.dim;

	snprintf(name, sizeof(name), "q%d", view);
	if (memcmp(tensor_f32(record_find(r->answer, name)) + row * dim, q, rows * dim * sizeof(float)) == 0)
		return 0;
	return fail("part %d/%d of step %lld came out otherwise the second time: do all stages in front give the same views?",
		    part, r->parts, (long long)step + 1);
}

static int apply(struct training *r, const struct record *grad, int64_t step)
{
	const struct tensor *d[TRAINER_VIEWS] = { NULL };

	for (int i = 0; i < r->view_count; i++)
		if (r->trains[i] && !(d[i] = find_gradient(r, grad, i, step)))
			return -1;
	if (check_names(r, grad, step) < 0 || check_loss(r, grad, step) < 0)
		return -1;
	for (int part = 0; part < r->parts; part++) {
		int row = part_start(r->batch, part, r->parts), rows = part_rows(r->batch, part, r->parts);

		if (feed_part(r, FOR_GRADIENTS, part) < 0)
			return -1;
		for (int i = 0; i < r->view_count; i++) {
			if (!d[i])
				continue;
			if (check_again(r, i, part, trainer_query_again(&r->t, i, part, feed_rows(r, i, row), rows), step) < 0)
				return -1;
			trainer_backward(&r->t, i, part, tensor_f32(d[i]) + (size_t)row * r->t.c.net.dim);
		}
	}
	return trainer_update(&r->t, step) < 0 ? blame(r) : 0;
}

/* --- the step --- */

static int step_init(struct training *r, const struct record *want)
{
	size_t view = (size_t)3 * r->t.c.net.height * r->t.c.net.width;

	if (feed_init(r, want) < 0)
		return -1;
	for (int i = 0; i < r->view_count; i++)
		if (r->keys[i] && key_cells(r->batch, r->parts) > 1)
			r->gathered[i] = xmalloc(view * key_most(r->batch, r->parts));
	return 0;
}

static int save_step(struct training *r, const struct record *grad)
{
	char *cause;

	if (trainer_check(&r->t) < 0) {
		cause = xstrdup(why());
		fail("step %lld is not saved: %s", (long long)r->run.step, cause);
		free(cause);
		return blame(r);
	}
	return rundir_save(&r->run, &r->t, grad);
}

int train_step(struct training *r, const struct request *q)
{
	int64_t step = r->run.step;
	struct request g;
	bool save;
	int result;

	meter_spent(r->t.meter, METER_LOSS);
	if (check_want(r, q->record, step) < 0)
		return -1;
	if (!r->wanted && step_init(r, q->record) < 0)
		return -1;
	trainer_begin(&r->t, step);
	if (embed(r) < 0)
		return -1;
	r->stop = stage_signal(r->s);
	save = (step + 1) % r->save_every == 0 || step + 1 == r->end || r->stop;
	if (send_batch(r, q, step, save) < 0)
		return -1;
	meter_spent(r->t.meter, METER_REST);
	result = stage_next(r->s, &g);
	meter_spent(r->t.meter, METER_LOSS);
	if (result <= 0)
		return result < 0 ? -1 : fail_code(EXIT_GONE, "the loss ended before the run did");
	if (check_grad(r, &g, step) < 0 || (save && rundir_expect(&r->run, g.record) < 0) || apply(r, g.record, step) < 0)
		return -1;
	r->run.step = step + 1;
	if (save && save_step(r, g.record) < 0)
		return -1;
	meter_step(r->t.meter);
	return 0;
}

void step_release(struct training *r)
{
	feed_release(r);
	record_free(r->answer);
	for (int i = 0; i < TRAINER_VIEWS; i++)
		free(r->gathered[i]);
}
