/*
 * loss - the last stage of a training line: asks for embeddings, answers with gradients, prints a line a step
 */
#include "lib/base/isa.h"
#include "lib/base/progress.h"
#include "lib/base/threads.h"
#include "lib/loss/loss.h"
#include "lib/loss/monitor.h"
#include "lib/stream/stage.h"

#include <math.h>

struct options {
	struct stage_options stage;
};

static const struct option_row rows[] = {
	STAGE_CLIENT_ROWS(struct options, stage),
	STAGE_ROWS(struct options, stage),
	OPTIONS_END
};

static const struct manual manual = {
	"loss", "[OPTION]... NAME[:KEY=VALUE,...]", "Objectives of a training line; 'loss list' names them.",
	"  augment data/train | encode -a resnet18 -o run | loss moco:t=0.1,k=4096 >> run/moco.jsonl\n", rows
};

/* What the loop carries from step to step. */
struct work {
	struct stage *stage;
	struct choice choice;
	struct objective *objective;
	struct record *names, *grad;
	struct monitor monitor;
	int64_t steps, first_step, incarnation;
	double since;                  /* when the step before was done */
};

static int parse(int argc, char **argv, struct options *o, struct choice *c)
{
	int first = options_parse(&manual, o, argc, argv);

	if (first < 0)
		return -1;
	if (first != argc - 1)
		return fail_code(EXIT_USAGE, "give one loss: try 'loss list'");
	if (strcmp(argv[first], "list") == 0) {
		table_print(&loss_table);
		exit(fflush(stdout) == 0 && !ferror(stdout) ? EXIT_OK : EXIT_FAIL);
	}
	return choice_parse(c, &loss_table, argv[first]);
}

/* The loss and its parameters are a fact of the run, defaults written out. */
static struct record *introduce(const struct choice *c)
{
	struct record *open = record_new(KIND_OPEN);
	char spelling[256];

	record_set_text(open, "fact.loss", choice_spell(c, spelling, sizeof(spelling)));
	return open;
}

/* From the schema: shapes, seed, and the saved state when a run resumes. */
static int prepare(struct work *w)
{
	const struct record *schema = stage_schema(w->stage);
	char names[LOSS_INPUTS][LOSS_NAME];
	int n = loss_needs(&w->choice, names);

	if (!record_bool(schema, "trained", false))
		return fail_code(EXIT_USAGE, "the stage in front is not trained: loss needs an 'encode -o DIR' there");
	w->objective = objective_new(&w->choice, schema->offers, schema->offer_count, record_int(schema, "fact.seed", 0),
				     record_int(schema, "fact.samples", 0));
	if (!w->objective)
		return -1;
	w->first_step = record_int(schema, "first_step", 0);
	if (w->first_step > 0 && objective_restore(w->objective, schema->tensors, schema->tensor_count) < 0)
		return -1;
	for (int i = 0; i < n; i++)
		record_name(w->names, names[i]);
	w->steps = record_int(schema, "fact.steps", 0);
	w->incarnation = record_int(schema, "incarnation", 0);
	w->since = now();
	return 0;
}

/* The first line: what the steps' losses are to be compared with. A run that is finished already prints nothing. */
static void print_head(const struct work *w)
{
	char spelling[256];

	printf("{\"loss\": \"%s\", \"expected\": %.6f, \"batch\": %d, \"dim\": %d, \"first_step\": %lld, \"steps\": %lld}\n",
	       choice_spell(&w->choice, spelling, sizeof(spelling)), objective_expected(w->objective), w->objective->rows,
	       (int)w->objective->inputs[0].value.shape[1], (long long)w->first_step + 1, (long long)w->steps);
}

/* The step's line on stdout, the live line on stderr, and the warning. */
static int report(struct work *w, int64_t step, const struct record *batch)
{
	const struct objective *o = w->objective;
	double t = now(), rate = o->rows / MAX(t - w->since, 1e-9), std = objective_scalar(o, "std");
	int dim = (int)o->inputs[0].value.shape[1];
	long long epoch = record_int(batch, "epoch", 0) + 1;

	if (step == w->first_step)
		print_head(w);
	w->since = t;
	printf("{\"step\": %lld, \"epoch\": %lld", (long long)step + 1, epoch);
	for (int i = 0; i < o->scalar_count; i++)
		printf(", \"%s\": %.8g", o->scalars[i].name, o->scalars[i].value);
	printf(", \"lr\": %.8g, \"images_s\": %.1f}\n", record_real(batch, "lr", 0), rate);
	if (fflush(stdout) != 0)
		return fail("unable to write to stdout:");
	if (monitor_collapsing(&w->monitor, std, dim)) {
		progress_close();
		note("step %lld: the embeddings collapse: their std %.2g stays below %g/sqrt(%d): try a lower learning rate",
		     (long long)step + 1, std, COLLAPSE_SHARE, dim);
	}
	progress_show(step + 1, w->steps, "step %lld/%lld  epoch %lld  loss %.3f (untrained %.3f)  std %.3f  %.0f images/s",
		      (long long)step + 1, (long long)w->steps, epoch, objective_scalar(o, "loss"), objective_expected(o), std,
		      rate);
	return 0;
}

/* The answer to a batch: gradients, scalars, and the whole state when it is to be saved. */
static void reply(struct work *w, int64_t step, bool save)
{
	struct objective *o = w->objective;

	record_set_int(w->grad, "step", step);
	record_set_int(w->grad, "incarnation", w->incarnation);
	if (stage_signal(w->stage))
		record_set_int(w->grad, "stop", stage_signal(w->stage));
	for (int i = 0; i < o->scalar_count; i++)
		record_set_real(w->grad, o->scalars[i].name, o->scalars[i].value);
	for (int i = 0; i < o->input_count; i++)
		if (o->inputs[i].gradient.data)
			record_add(w->grad, tensor_share(&o->inputs[i].gradient));
	for (int i = 0; save && i < o->state_count; i++)
		record_add(w->grad, tensor_share(&o->state[i]));
	stage_reply(w->stage, w->grad);
	record_reset(w->grad, KIND_GRAD);
}

/* One step: 1, 0 when upstream has ended, -1. */
static int run_step(struct work *w, int64_t step)
{
	struct record *batch;
	int r;

	stage_want(w->stage, step, 0, 1, w->names);
	r = stage_take(w->stage, &batch);
	if (r <= 0)
		return r;
	w->objective->epoch = record_int(batch, "epoch", 0);
	w->objective->lr = record_real(batch, "lr", 0);
	r = objective_step(w->objective, step, batch->tensors, batch->tensor_count);
	if (r == 0) {
		reply(w, step, record_bool(batch, "save", false));
		r = report(w, step, batch);
	}
	record_free(batch);
	return r < 0 ? -1 : 1;
}

int main(int argc, char **argv)
{
	struct options o = { .stage = STAGE_OPTIONS_INIT };
	struct work w = { 0 };
	struct record *open;
	int r;

	/* arguments */
	threads_passive(argv);
	if (parse(argc, argv, &o, &w.choice) < 0 || isa_init() < 0)
		return stage_refuse("loss", false);

	/* prepare */
	memory_keep(true);
	w.stage = stage_new("loss", &o.stage, argc, argv);
	w.names = record_new(KIND_WANT);
	w.grad = record_new(KIND_GRAD);
	open = introduce(&w.choice);
	r = stage_connect(w.stage, open);
	if (r == 0)
		r = prepare(&w);

	/* steps, until encode says that there are no more */
	if (r == 0)
		for (int64_t step = record_int(stage_schema(w.stage), "first_step", 0); (r = run_step(&w, step)) > 0; step++)
			;

	/* close */
	record_free(open);
	record_free(w.names);
	record_free(w.grad);
	objective_free(w.objective);
	return stage_finish(w.stage, r);
}
