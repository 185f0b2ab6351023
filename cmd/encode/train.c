/* train.c - the trained network: one step a want, one checkpoint now and then, the run's end */
#include "cmd/encode/training.h"

#include "lib/base/isa.h"
#include "lib/base/threads.h"
#include "lib/nn/weights/adopt.h"
#include "lib/tensor/backend.h"

/* --- preparing --- */

/* A number where it is one, so that .99 and 0.99 are the same. */
static void set_ema(struct record *facts, const char *name, const char *text)
{
	double m;

	if (parse_real(text, &m) == 0)
		record_set_real(facts, name, m);
	else
		record_set_text(facts, name, text);
}

/* Of several trained stages each has facts of its own, fact.NAME.arch, where they have names. */
static const char *fact(const struct options *o, const char *name, char text[SCALAR_NAME])
{
	snprintf(text, SCALAR_NAME, "fact.%s%s%s", o->as ? o->as : "", o->as ? "." : "", name);
	return text;
}
#define FACT(name) fact(o, name, (char[SCALAR_NAME]){ "" })

static void add_own_facts(const struct training *r, struct record *facts)
{
	const struct options *o = r->o;
	const struct net_config *c = &r->t.c.net;

	record_set_text(facts, FACT("arch"), ((const struct entry *)c->arch)->name);
	record_set_bool(facts, FACT("small"), c->small);
	record_set_text(facts, FACT("head"), c->head);
	record_set_text(facts, FACT("predictor"), c->predictor);
	record_set_int(facts, FACT("dim"), c->dim);
	set_ema(facts, FACT("ema"), o->ema);
	record_set_bool(facts, FACT("ema_buffers"), o->ema_buffers);
	record_set_text(facts, FACT("optim"), o->optim.spelling);
	record_set_text(facts, FACT("freeze"), c->freeze);
	record_set_text(facts, FACT("lr"), c->rates);
	record_set_real(facts, FACT("clip"), o->clip);
	record_set_text(facts, FACT("schedule"), o->schedule.spelling);
	record_set_text(facts, FACT("precision"), c->bf16 ? "bf16" : "f32");
	record_set_int(facts, FACT("bn_splits"), r->parts);
	record_set_real(facts, FACT("bn_momentum"), o->bn_momentum);
	record_set_real(facts, FACT("dropout"), c->dropout);
	record_set_real(facts, FACT("drop_path"), c->drop_path);
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

/* Parts of a step: those of --bn-splits, or as many as --microbatch makes. */
static int choose_parts(struct training *r)
{
	int64_t given = r->o->bn_splits, most = r->o->microbatch, least = most > 0 ? (r->batch + most - 1) / most : 1;

	if (given > r->batch)
		return fail_code(EXIT_USAGE,
				 "a batch of %d has no %lld parts: give a smaller --bn-splits, or a larger --batch to augment",
				 r->batch, (long long)given);
	if (given > 0 && given < least)
		return fail_code(EXIT_USAGE,
				 "--bn-splits %lld makes parts of %lld rows, but --microbatch %lld keeps no more: leave "
				 "--bn-splits out, or give at least %lld",
				 (long long)given, (long long)((r->batch + given - 1) / given), (long long)most,
				 (long long)least);
	r->parts = (int)MAX(given, least);
	return 0;
}

/* Layers that an option spells, which may be others than the file's: behind another head predictors are, too. */
static int spelled_layers(const struct options *o)
{
	if (o->head || o->dim)
		return LAYERS_ALL & ~LAYERS_OF(OUTPUT_FEATURE);
	return o->predictor ? LAYERS_ALL & ~LAYERS_KEY : 0;
}

static int load_weights(struct training *r, const struct tensors *file)
{
	int read = adopt(r->t.net, file, r->o->weights, spelled_layers(r->o), r->t.params, r->t.buffers);

	r->t.unsettled = unsettled(file);
	for (enum output i = OUTPUT_HEAD; read >= 0 && i < OUTPUTS; i++) {
		const char *kind = i == OUTPUT_HEAD ? "head" : "predictor", *word = i == OUTPUT_HEAD ? "" : net_word(r->t.net, i);
		const char *has = tensors_meta(file, kind);

		if (net_width(r->t.net, i) > 0 && !(read & LAYERS_OF(i)))
			note("'%s' has %s %s%s%s: %s starts at random", r->o->weights,
			     has && strcmp(has, "none") != 0 ? "another" : "no", kind, *word ? " " : "", word,
			     has && strcmp(has, "none") != 0 ? "the one asked for" : "it");
	}
	return read < 0 ? -1 : 0;
}

/* A list with commas between, or what else counts; to be freed. */
static char *join_list(const struct option_list *list, const char *otherwise)
{
	char *text = xstrdup(list->count > 0 ? list->items[0] : otherwise);

	for (int i = 1; i < list->count; i++) {
		char *more = xasprintf("%s,%s", text, list->items[i]);

		free(text);
		text = more;
	}
	return text;
}

static int make_trainer(struct training *r)
{
	const struct record *up = stage_schema(r->s);
	int64_t epochs = (record_int(up, "fact.steps", 0) + r->steps_per_epoch - 1) / r->steps_per_epoch;
	struct tensors file = { 0 };
	struct trainer_config c = {
		.optim = r->o->optim,
		.schedule = r->o->schedule,
		.clip = r->o->clip,
		.stream = r->o->microbatch > 0 && r->o->microbatch < r->batch,
		.ema_buffers = r->o->ema_buffers,
		.bn_momentum = r->o->bn_momentum,
		.seed = (uint64_t)record_int(up, "fact.seed", 0),
		.batch = r->batch,
		.steps_per_epoch = r->steps_per_epoch,
		.epochs = (double)record_int(up, "fact.epochs", epochs),
		.meter = r->o->profile,
	};
	char *frozen = NULL, *rates = NULL;
	int result;

	if (choose_parts(r) < 0 || ema_parse(&c.ema, r->o->ema) < 0)
		return -1;
	view_sizes(up, c.sizes);
	if (r->o->weights && tensors_open(&file, r->o->weights) < 0)
		return -1;
	result = configure(&c.net, r->o, up, r->o->weights ? &file : NULL);
	c.parts = r->parts;
	if (result == 0) {
		c.net.freeze = frozen = join_list(&r->o->freeze, c.net.arch->freeze ? c.net.arch->freeze : "none");
		c.net.rates = rates = join_list(&r->o->rates, "1");
		result = trainer_init(&r->t, &c);
	}
	free(frozen);
	free(rates);
	if (result == 0 && r->o->weights)
		result = load_weights(r, &file);
	else if (result == 0 && r->t.still)
		note("no -w: batch norm that --freeze keeps is at its start, means 0 and variances 1");
	tensors_close(&file);
	return result;
}

/* A name that two trained stages make would never get a gradient at one of them. */
static int refuse_namesakes(const struct training *r)
{
	struct own own[OUTPUTS + 1];
	int n = own_list(r, own);
	char name[TENSOR_NAME + 8];

	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%s0", own[i].prefix);
		if (record_offered(stage_schema(r->s), name))
			return fail_code(EXIT_USAGE,
					 "the trained stage in front makes '%s', too: give one of them a name with --as", name);
	}
	return n < 0 ? -1 : 0;
}

/* The schema is sent once, to the one loss: it can carry the state that this loss goes on with. */
static int describe(struct training *r)
{
	const struct record *up = stage_schema(r->s);
	struct record *schema = r->schema;
	struct own own[OUTPUTS + 1];
	int n;

	if (r->leads && refuse_namesakes(r) < 0)
		return -1;
	stage_describe(r->s, schema);
	r->incarnation = record_int(schema, "incarnation", 0);
	record_set_bool(schema, "trained", true);
	record_set_int(schema, "first_step", r->run.step);
	for (int i = 0; i < r->run.state->tensor_count; i++)
		record_add(schema, tensor_share(&r->run.state->tensors[i]));
	n = own_list(r, own);
	for (int i = 0; i < r->view_count * n; i++) /* before the others': a name that two make means ours */
		if (offer_own(schema, own[i % n].prefix, i / n, r->batch, net_width(r->t.net, own[i % n].output)) < 0)
			return -1;
	return n < 0 ? -1 : offer_others(schema, up);
}

/* Goes on with what is kept of the run up to a step (-1: any). */
static int open_run(struct training *r, int64_t limit)
{
	struct record *lineage = record_new(KIND_SCHEMA);
	char *text;
	int result;

	stage_describe(r->s, lineage);
	text = record_long_text(lineage, "lineage");
	result = rundir_open(&r->run, r->o->out, r->o->fresh, limit, &r->t, r->schema, text);
	free(text);
	record_free(lineage);
	return result;
}

/* Takes the run back to an earlier step that it has kept: where the stage behind was killed before it saved, too. */
static int step_back(struct training *r, int64_t step)
{
	trainer_release(&r->t);
	rundir_close(&r->run);
	if (make_trainer(r) < 0 || open_run(r, step) < 0 || rundir_check(&r->run, r->open) < 0)
		return -1;
	r->first = step;
	return r->run.step == step ? 0 : rundir_refuse_step(&r->run, r->run.step, step);
}

/* To the stage in front. */
static int connect(struct training *r)
{
	struct record *open = record_new(KIND_OPEN);
	int result;

	record_set_bool(open, "trained", true);
	result = stage_connect(r->s, open);
	record_free(open);
	if (result < 0 || check_schema(stage_schema(r->s)) < 0)
		return -1;
	r->leads = record_bool(stage_schema(r->s), "trained", false);
	if (r->leads && r->o->microbatch > 0)
		return fail_code(EXIT_USAGE, "the trained stage in front gives whole steps: leave --microbatch out");
	return 0;
}

static int prepare(struct training *r)
{
	const struct record *up;
	int result;

	if (connect(r) < 0)
		return -1;
	up = stage_schema(r->s);
	if (record_bool(up, "fact.eval", false))
		return fail_code(EXIT_USAGE, "the stage in front serves an evaluation: add --eval and -w FILE, or train without "
					     "augment --eval");
	r->view_count = (int)record_int(up, "fact.views", 1);
	if (r->view_count > TRAINER_VIEWS)
		return fail_code(EXIT_USAGE, "the stage in front gives %d views: encode trains on %d at most", r->view_count,
				 TRAINER_VIEWS);
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
	copy_origin(r->schema, up);
	add_own_facts(r, r->schema);
	add_circumstances(r, r->schema);
	result = open_run(r, r->leads ? record_int(up, "first_step", 0) : -1);
	if (result == 0 && !r->o->out)
		note("nothing of this run is kept: -o DIR would save it");
	return result;
}

/* --- the run --- */

static int interrupted(struct training *r, int64_t saved)
{
	if (!r->run.dir)
		return fail_code(128 + stage_signal(r->s), "interrupted after step %lld; nothing is saved without -o",
				 (long long)r->run.step);
	if (saved == 0)
		return fail_code(128 + stage_signal(r->s), "interrupted before the first step: there is nothing to save");
	return fail_code(128 + stage_signal(r->s), "interrupted after step %lld, saved in '%s': the same line goes on",
			 (long long)saved, r->run.dir);
}

/* Reads what the stage behind says of itself, and tells it of the run. 1, 0 when it has ended, -1. */
static int greet(struct training *r)
{
	struct request q;
	int result = stage_next(r->s, &q);

	if (result <= 0)
		return result;
	if (q.record->kind != KIND_OPEN)
		return fail("the loss sent '%s' in place of its 'open'", kind_name(q.record->kind));
	r->led = record_bool(q.record, "trained", false);
	r->open = record_new(KIND_OPEN);
	record_copy_facts(r->open, q.record);
	record_set_text(r->open, "command", record_text(q.record, "command", ""));
	if (r->led && (r->o->until > 0 || r->o->save_every > 0))
		return fail_code(EXIT_USAGE, "of several trained stages the last one says when to save and when to end: give it "
				 "--save-every and --until");
	return rundir_check(&r->run, r->open) < 0 || stage_answer(r->s, &q, r->schema) < 0 ? -1 : 1;
}

/* The first want of a stage that is trained, too, says from which step all go on. 1, 0 when it has ended, -1. */
static int agree(struct training *r)
{
	int result = stage_next(r->s, &r->want);
	int64_t step;

	if (result <= 0) {
		r->want.record = NULL;
		return result;
	}
	step = record_int(r->want.record, "step", -1);
	return step >= 0 && step < r->run.step && step_back(r, step) < 0 ? -1 : 1;
}

/* Where the stage behind is trained, too, it may have been killed before it saved what is finished here. */
static int run_steps(struct training *r)
{
	int result = 1;

	while (result > 0 && (r->run.step < r->end || r->led)) {
		result = train_step(r);
		if (result > 0 && r->stop && r->run.step < r->end)
			return interrupted(r, r->run.saved);
	}
	if (result < 0)
		return -1;
	if (r->leads && r->run.step > r->first && r->run.step >= r->end && feed_end(r) < 0)
		return -1;
	if (r->run.step == r->first && r->run.step >= r->end)
		note("'%s' is finished: %lld steps are done, nothing was written", r->run.dir, (long long)r->run.step);
	return r->run.step < r->end ? fail_code(EXIT_GONE, "the loss ended before the run did") : 0;
}

/* A network of a slow momentum, evaluated after a short run, is normalised by the statistics that it was born with. */
static void note_unsettled(const struct training *r)
{
	double share = trainer_unsettled(&r->t, r->run.step), m = trainer_bn_momentum(&r->t);

	if (r->run.dir && share > UNSETTLED)
		note("after %lld steps with BN momentum %g the running statistics are still %.0f %% those of the start: evaluate "
		     "with encode --eval --calibrate%s",
		     (long long)r->run.step, m, 100 * share, m < 0.1 ? ", or train with --bn-momentum 0.1" : "");
}

static int run_line(struct training *r)
{
	int result = prepare(r);

	if (result < 0)
		return -1;
	if (stage_signal(r->s))
		return interrupted(r, 0);
	if (describe(r) < 0 || stage_serve(r->s, true) < 0)
		return -1;
	r->first = r->run.step;
	result = greet(r);
	if (result > 0 && r->led)
		result = agree(r);
	if (result >= 0)
		result = run_steps(r);
	if (result == 0) {
		stage_end(r->s, EXIT_OK);
		note_unsettled(r);
	}
	return result;
}

int train(struct stage *s, const struct options *o)
{
	struct training r = { .s = s, .o = o, .run.lock = -1 };
	int result = run_line(&r);

	if (r.t.meter)
		meter_print(r.t.meter, stderr);
	rundir_close(&r.run);
	trainer_release(&r.t);
	record_free(r.schema);
	record_free(r.open);
	step_release(&r);
	return result;
}
