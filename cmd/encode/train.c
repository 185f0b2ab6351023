/* train.c - the trained network: one step a want, one checkpoint now and then, the run's end */
#include "cmd/encode/encode.h"

#include "lib/base/isa.h"
#include "lib/base/threads.h"
#include "lib/nn/backend.h"

struct training {
	struct stage *s;
	const struct options *o;
	const char *backend;
	struct trainer t;
	struct run run;
	struct record *schema, *wanted, *names, *views;  /* wanted by the loss; names asked for upstream; views of the step in hand */
	int view_count, batch;
	bool given[TRAINER_VIEWS];              /* whose q the loss has */
	int64_t steps_per_epoch, end, save_every;
	int64_t asked;                          /* steps wanted upstream so far */
	int64_t incarnation;
};

/* --- preparing --- */

static void add_own_facts(const struct training *r, struct record *facts)
{
	const struct options *o = r->o;
	const struct net_config *c = &r->t.c.net;

	record_set_text(facts, "fact.arch", ((const struct entry *)c->arch)->name);
	record_set_bool(facts, "fact.small", c->small);
	record_set_text(facts, "fact.head", c->head);
	record_set_int(facts, "fact.dim", c->dim);
	record_set_real(facts, "fact.ema", o->ema);
	record_set_text(facts, "fact.optim", o->optim.spelling);
	record_set_real(facts, "fact.clip", o->clip);
	record_set_text(facts, "fact.schedule", o->schedule.spelling);
	record_set_int(facts, "fact.bn_splits", c->bn_splits);
	record_set_real(facts, "fact.bn_momentum", c->bn_momentum);
}

/* What the bytes of a run also depend on: no facts, a run may go on with others. */
static void add_circumstances(const struct training *r, struct record *facts)
{
	const struct backend *b = backend_find(r->t.c.net.backend);
	char text[256];

	snprintf(text, sizeof(text), "%s %s", b->entry.name, b->version());
	record_set_text(facts, "made.backend", text);
	record_set_text(facts, "made.isa", isa_name(isa()));
	snprintf(text, sizeof(text), "%d", threads_set((int)r->o->stage.jobs));
	record_set_text(facts, "made.threads", text);
}

static int load_weights(struct training *r, const struct safetensors *file)
{
	bool from_checkpoint = safetensors_find(file, "model.head.0.weight") != NULL;
	int head = model_load(r->t.net, file, r->o->weights, from_checkpoint ? "model." : "", MODEL_HEAD_OPTIONAL, r->t.params, r->t.buffers);

	if (head == 0)
		note("'%s' has no head: it starts at random", r->o->weights);
	return head < 0 ? -1 : 0;
}

static int make_trainer(struct training *r)
{
	const struct record *up = stage_schema(r->s);
	struct safetensors file = { 0 };
	struct trainer_config c = {
		.optim = r->o->optim,
		.schedule = r->o->schedule,
		.clip = r->o->clip,
		.ema = r->o->ema,
		.seed = (uint64_t)record_int(up, "fact.seed", 0),
		.batch = r->batch,
		.steps_per_epoch = r->steps_per_epoch,
		.epochs = (double)record_int(up, "fact.epochs", 1),
	};
	int result;

	if (r->o->weights && safetensors_open(&file, r->o->weights) < 0)
		return -1;
	result = configure(&c.net, r->o, up, r->o->weights ? &file : NULL);
	if (result == 0)
		result = trainer_init(&r->t, &c);
	if (result == 0 && r->o->weights)
		result = load_weights(r, &file);
	safetensors_close(&file);
	return result;
}

static void offer(struct record *schema, const char *prefix, int view, int rows, int width)
{
	char name[TENSOR_NAME];

	snprintf(name, sizeof(name), "%s%d", prefix, view);
	record_offer(schema, name, F32, 2, (int64_t[]){ rows, width });
}

/* The schema is sent once, to the one loss: it can carry the state that this loss goes on with. */
static void describe(struct training *r)
{
	const struct record *up = stage_schema(r->s);
	struct record *schema = r->schema;

	stage_describe(r->s, schema);
	r->incarnation = record_int(schema, "incarnation", 0);
	record_set_bool(schema, "trained", true);
	record_set_int(schema, "first_step", r->run.step);
	for (int i = 0; i < up->offer_count; i++)
		record_offer(schema, up->offers[i].name, up->offers[i].dtype, up->offers[i].rank, up->offers[i].shape);
	for (int i = 0; i < r->view_count; i++) {
		offer(schema, "q", i, r->batch, r->t.c.net.dim);
		offer(schema, "k", i, r->batch, r->t.c.net.dim);
		offer(schema, "feature", i, r->batch, net_feature_dim(r->t.net));
	}
	for (int i = 0; i < r->run.state->tensor_count; i++)
		record_add(schema, tensor_share(&r->run.state->tensors[i]));
}

static int prepare(struct training *r)
{
	const struct record *up;
	struct record *lineage;
	char *text;
	int result;

	if (stage_connect(r->s, NULL) < 0 || check_schema(stage_schema(r->s)) < 0)
		return -1;
	up = stage_schema(r->s);
	if (record_bool(up, "fact.eval", false))
		return fail_code(EXIT_USAGE, "the stage in front serves an evaluation: add --eval and -w FILE, or train without augment --eval");
	r->view_count = MIN((int)record_int(up, "fact.views", 1), TRAINER_VIEWS);
	r->batch = (int)record_int(up, "fact.batch", 1);
	r->steps_per_epoch = record_int(up, "fact.steps_per_epoch", 1);
	r->end = record_int(up, "fact.steps", 0);
	if (r->o->until > 0)
		r->end = MIN(r->end, r->o->until * r->steps_per_epoch);
	r->save_every = r->o->save_every > 0 ? r->o->save_every : r->steps_per_epoch;
	if (make_trainer(r) < 0)
		return -1;
	r->schema = record_new(KIND_SCHEMA);
	record_copy_facts(r->schema, up);
	add_own_facts(r, r->schema);
	add_circumstances(r, r->schema);
	lineage = record_new(KIND_SCHEMA);
	stage_describe(r->s, lineage);
	text = record_long_text(lineage, "lineage");
	result = run_open(&r->run, r->o->out, r->o->fresh, &r->t, r->schema, text);
	free(text);
	record_free(lineage);
	r->asked = r->run.step;
	return result;
}

/* --- one step --- */

/* The loss's names decide which views and pass-through tensors to ask for; they stay the same through the run. */
static int translate(struct training *r, const struct record *want)
{
	char view[TENSOR_NAME];
	int i;

	r->names = record_new(KIND_WANT);
	r->wanted = record_new(KIND_WANT);
	for (int n = 0; n < want->name_count; n++)
		record_name(r->wanted, want->names[n]);
	for (int n = 0; n < want->name_count; n++) {
		const char *name = want->names[n];

		if (view_name(name, "q", r->view_count, &i) || view_name(name, "k", r->view_count, &i) ||
		    view_name(name, "feature", r->view_count, &i)) {
			snprintf(view, sizeof(view), "view%d", i);
			record_name(r->names, view);
		} else if (record_offered(stage_schema(r->s), name)) {
			record_name(r->names, name);
		} else {
			return refuse_name(name);
		}
	}
	return 0;
}

static int take_views(struct training *r, int64_t step)
{
	int result;

	for (; r->asked < r->end && stage_room(r->s) > 0; r->asked++)
		if (stage_want(r->s, r->asked, 0, 1, r->names) < 0)
			return -1;
	record_free(r->views);
	r->views = NULL;
	result = stage_take(r->s, &r->views);
	if (result > 0 && r->views->tensor_count && r->views->tensors[0].shape[0] != r->batch)
		return fail("the stage in front sent %lld rows in step %lld, not the batch of %d", (long long)r->views->tensors[0].shape[0],
			    (long long)step + 1, r->batch);
	if (result == 0)
		return fail_code(EXIT_GONE, "the stage in front ended before step %lld", (long long)step + 1);
	for (; result > 0 && r->asked < r->end && stage_room(r->s) > 0; r->asked++) /* the next views are made while we compute */
		if (stage_want(r->s, r->asked, 0, 1, r->names) < 0)
			return -1;
	return result < 0 ? -1 : 0;
}

static const struct tensor *view_of(const struct training *r, int i)
{
	char name[TENSOR_NAME];

	snprintf(name, sizeof(name), "view%d", i);
	return record_find(r->views, name);
}

static bool wants(const struct record *want, const char *prefix, int view)
{
	char name[TENSOR_NAME];

	snprintf(name, sizeof(name), "%s%d", prefix, view);
	return record_named(want, name);
}

static float *add_output(struct record *answer, const char *prefix, int view, int rows, int width, const float *values)
{
	char name[TENSOR_NAME];
	struct tensor t;

	snprintf(name, sizeof(name), "%s%d", prefix, view);
	t = tensor_new(name, F32, 2, (int64_t[]){ rows, width });
	if (values)
		memcpy(t.data, values, tensor_bytes(&t));
	record_add(answer, t);
	return t.data;
}

static void embed(struct training *r, int64_t step, const struct record *want, struct record *answer)
{
	bool moved = false;

	for (int i = 0; i < r->view_count; i++)
		if (wants(want, "q", i) || wants(want, "feature", i)) {
			const struct tensor *x = view_of(r, i);
			int rows = (int)x->shape[0];
			const float *q = trainer_query(&r->t, i, tensor_u8(x), rows);

			r->given[i] = wants(want, "q", i);
			if (r->given[i])
				add_output(answer, "q", i, rows, r->t.c.net.dim, q);
			if (wants(want, "feature", i))
				add_output(answer, "feature", i, rows, net_feature_dim(r->t.net), trainer_feature(&r->t, i));
		}
	for (int i = 0; i < r->view_count; i++)
		if (wants(want, "k", i)) {
			const struct tensor *x = view_of(r, i);
			int rows = (int)x->shape[0];

			if (!moved)
				trainer_move_key(&r->t);
			moved = true;
			trainer_key(&r->t, i, tensor_u8(x), rows, step, add_output(answer, "k", i, rows, r->t.c.net.dim, NULL));
		}
	for (int i = 0; i < r->views->tensor_count; i++)
		if (record_named(want, r->views->tensors[i].name))
			record_add(answer, tensor_share(&r->views->tensors[i]));
}

static int send_batch(struct training *r, const struct request *q, int64_t step, bool save)
{
	struct record *answer = record_new(KIND_BATCH);
	int result;

	embed(r, step, q->record, answer);
	record_set_int(answer, "step", step);
	record_set_int(answer, "part", 0);
	record_set_int(answer, "parts", 1);
	record_set_int(answer, "epoch", step / r->steps_per_epoch);
	record_set_real(answer, "lr", trainer_rate(&r->t, step));
	record_set_bool(answer, "save", save);
	result = stage_answer(r->s, q, answer);
	record_free(answer);
	return result;
}

static int check_grad(const struct training *r, const struct request *g, int64_t step)
{
	if (g->record->kind != KIND_GRAD || record_int(g->record, "step", -1) != step)
		return fail("the loss sent '%s' of step %lld in place of the gradient of step %lld", kind_name(g->record->kind),
			    (long long)record_int(g->record, "step", -1) + 1, (long long)step + 1);
	if (record_int(g->record, "incarnation", 0) != r->incarnation)
		return fail("refused a gradient that was made for another run of encode");
	return 0;
}

static int apply(struct training *r, const struct record *grad, int64_t step)
{
	for (int i = 0; i < r->view_count; i++) {
		char name[TENSOR_NAME];
		const struct tensor *d;
		int64_t rows;

		snprintf(name, sizeof(name), "d:q%d", i);
		d = record_find(grad, name);
		if (!r->given[i])
			continue;
		if (!d)
			return fail("the loss sent no '%s' in step %lld", name, (long long)step + 1);
		rows = view_of(r, i)->shape[0];
		if (d->dtype != F32 || d->rank != 2 || d->shape[0] != rows || d->shape[1] != r->t.c.net.dim)
			return fail("the loss sent '%s' in a shape that does not fit 'q%d'", name, i);
		trainer_backward(&r->t, i, tensor_f32(d));
	}
	return trainer_update(&r->t, step);
}

/* Views are asked for ahead, so what a run asks for stays what it was. */
static int check_want(const struct training *r, const struct record *want, int64_t step)
{
	bool same = true;

	if (want->kind != KIND_WANT || record_int(want, "step", -1) != step)
		return fail("the loss asked for step %lld, but step %lld is due", (long long)record_int(want, "step", -1) + 1, (long long)step + 1);
	if (record_int(want, "part", 0) != 0 || record_int(want, "parts", 1) != 1)
		return fail("the loss asked for a part of step %lld: a trained step is asked for whole", (long long)step + 1);
	if (want->name_count == 0)
		return fail("the loss asked for no name in step %lld", (long long)step + 1);
	for (int i = 0; r->wanted && i < want->name_count; i++)
		same &= record_named(r->wanted, want->names[i]);
	if (r->wanted && (!same || want->name_count != r->wanted->name_count))
		return fail("the loss asked for other names in step %lld than before: they stay the same through a run", (long long)step + 1);
	return 0;
}

static int train_step(struct training *r, const struct request *q)
{
	int64_t step = r->run.step;
	bool save = (step + 1) % r->save_every == 0 || step + 1 == r->end || stage_signal(r->s);
	struct request g;
	int result;

	if (check_want(r, q->record, step) < 0)
		return -1;
	if (!r->names && translate(r, q->record) < 0)
		return -1;
	if (take_views(r, step) < 0 || send_batch(r, q, step, save) < 0)
		return -1;
	result = stage_next(r->s, &g);
	if (result <= 0)
		return result < 0 ? -1 : fail_code(EXIT_GONE, "the loss ended before the run did");
	if (check_grad(r, &g, step) < 0 || apply(r, g.record, step) < 0)
		return -1;
	r->run.step = step + 1;
	return save ? run_save(&r->run, &r->t, g.record) : 0;
}

/* --- the run --- */

static int interrupted(struct training *r, int64_t saved)
{
	if (!r->run.dir)
		return fail_code(128 + stage_signal(r->s), "interrupted after step %lld; nothing is saved without -o", (long long)r->run.step);
	if (saved == 0)
		return fail_code(128 + stage_signal(r->s), "interrupted before the first step: there is nothing to save");
	return fail_code(128 + stage_signal(r->s), "interrupted after step %lld, saved in '%s': the same line goes on", (long long)saved, r->run.dir);
}

static int run_steps(struct training *r)
{
	int64_t saved = r->run.step;
	struct request q;
	int result = 0;

	while (r->run.step < r->end && (result = stage_next(r->s, &q)) > 0) {
		bool asked_to_stop = stage_signal(r->s) != 0; /* before this step began: it will be saved */

		if (q.record->kind == KIND_OPEN) {
			if (run_check(&r->run, q.record) < 0 || stage_answer(r->s, &q, r->schema) < 0)
				return -1;
			continue;
		}
		if (train_step(r, &q) < 0)
			return -1;
		if (r->run.step % r->save_every == 0 || r->run.step == r->end || asked_to_stop)
			saved = r->run.step;
		if (asked_to_stop && r->run.step < r->end)
			return interrupted(r, saved);
	}
	if (result < 0)
		return -1;
	return r->run.step < r->end ? fail_code(EXIT_GONE, "the loss ended before the run did") : 0;
}

/* A run that was finished before: the loss only learns that there is nothing to do. */
static int nothing_to_do(struct training *r)
{
	struct request q;
	int result = stage_next(r->s, &q);

	note("'%s' is finished: %lld steps are done, nothing was written", r->run.dir, (long long)r->run.step);
	if (result <= 0)
		return result;
	return run_check(&r->run, q.record) < 0 ? -1 : stage_answer(r->s, &q, r->schema);
}

static int run_line(struct training *r)
{
	int result = prepare(r);

	if (result < 0)
		return -1;
	if (stage_signal(r->s))
		return interrupted(r, 0);
	describe(r);
	if (stage_serve(r->s, true) < 0)
		return -1;
	result = r->run.step >= r->end ? nothing_to_do(r) : run_steps(r);
	if (result == 0)
		stage_end(r->s, EXIT_OK);
	return result;
}

int train(struct stage *s, const struct options *o)
{
	struct training r = { .s = s, .o = o, .run.lock = -1 };
	int result = run_line(&r);

	run_close(&r.run);
	trainer_release(&r.t);
	record_free(r.schema);
	record_free(r.wanted);
	record_free(r.names);
	record_free(r.views);
	return result;
}
