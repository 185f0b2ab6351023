/*
 * probe - the last stage of an evaluation line: collects features of one pass and says how good they are
 */
#include "lib/base/isa.h"
#include "lib/base/progress.h"
#include "lib/base/threads.h"
#include "lib/probe/probe.h"
#include "lib/stream/stage.h"
#include "lib/tensor/names.h"

enum { TASKS_MAX = 16 };

struct options {
	struct stage_options stage;
	const char *on;
};

static const struct option_row rows[] = {
	{ 0, "on", OPT_TEXT, offsetof(struct options, on), 0, 0, "NAME",
	  "what to probe: feature, q (head), view (pixels)", NULL },
	STAGE_CLIENT_ROWS(struct options, stage),
	STAGE_ROWS(struct options, stage),
	OPTIONS_END
};

static const struct manual manual = {
	"probe", "[OPTION]... TASK[:KEY=VALUE,...]...", "How good are frozen features? 'probe list' names the tasks.",
	"  augment --eval --like run/model.safetensors data | encode --eval -w run/model.safetensors | probe knn linear\n"
	"  augment --eval data | probe --on view knn\n", rows
};

struct work {
	struct stage *stage;
	struct choice tasks[TASKS_MAX];
	int task_count;
	struct features features;
	struct record *names;
	bool export;                   /* a task wants names, and features as they came */
	const char *pictures;          /* the task that wants small pictures; NULL: none does */
	int64_t steps, samples;
};

static int parse(int argc, char **argv, struct options *o, struct work *w)
{
	int first = options_parse(&manual, o, argc, argv);

	if (first < 0)
		return -1;
	if (first < argc && strcmp(argv[first], "list") == 0) {
		table_print(&probe_table);
		exit(fflush(stdout) == 0 && !ferror(stdout) ? EXIT_OK : EXIT_FAIL);
	}
	w->task_count = argc - first;
	if (w->task_count < 1 || w->task_count > TASKS_MAX)
		return fail_code(EXIT_USAGE, "give one to %d tasks: try 'probe list'", TASKS_MAX);
	for (int i = 0; i < w->task_count; i++)
		if (choice_parse(&w->tasks[i], &probe_table, argv[first + i]) < 0 || probe_check(&w->tasks[i]) < 0)
			return -1;
	if (strlen(o->on) == 0 || strlen(o->on) > 20)
		return fail_code(EXIT_USAGE, "--on '%.40s' names nothing that can be probed", o->on);
	return 0;
}

/* How many views of what is probed the tasks have a use for, of those that are served; 0 when none is. */
static int count_views(struct work *w, const char *on)
{
	int useful = 1, views = 0;
	char name[40];

	for (int i = 0; i < w->task_count; i++) {
		const struct probe *p = (const struct probe *)w->tasks[i].entry;

		useful = MAX(useful, p->views);
		w->export = w->export || p->names;
		if (probe_pictures(&w->tasks[i]))
			w->pictures = p->entry.name;
	}
	while (views < useful) {
		snprintf(name, sizeof(name), "%s%d", on, views);
		if (!record_offered(stage_schema(w->stage), name))
			break;
		record_name(w->names, name);
		views++;
	}
	return views;
}

/* Says what --on could be: whatever is offered with a number behind it. */
static int refuse_on(const struct record *schema, const char *on)
{
	char names[256] = "", first[40];
	size_t n = 0;

	snprintf(first, sizeof(first), "%s0", on);
	for (int i = 0; i < schema->offer_count; i++) {
		const char *name = schema->offers[i].name;
		size_t length = strlen(name);

		if (length > 1 && name[length - 1] == '0' && schema->offers[i].rank >= 2 && n + length + 3 < sizeof(names))
			n += sprintf(names + n, "%s%.*s", n ? ", " : "", (int)length - 1, name);
	}
	return fail_code(EXIT_USAGE, "nobody gives '%s': %s; put it in front, or choose another --on: %s", first,
			 name_remedy(first), n ? names : "there is none");
}

/* Pictures to look at are view0, which may be what is probed as well. */
static int prepare_pictures(struct work *w, const char *on)
{
	const struct tensor *view = record_offered(stage_schema(w->stage), "view0");

	if (!view)
		return fail_code(EXIT_USAGE,
				 "nobody gives 'view0', the pictures that %s is to show: augment does; put it in front, or leave "
				 "them out",
				 w->pictures);
	if (view->dtype != U8 || view->rank != 4 || view->shape[3] != 3 || view->shape[1] < 1 || view->shape[2] < 1)
		return fail("'view0' holds no pictures of three channels");
	if (strcmp(on, "view") != 0)
		record_name(w->names, "view0");
	features_keep_small(&w->features, view->shape[1], view->shape[2]);
	return 0;
}

/* From the schema: what to ask for, and room for it. */
static int prepare(struct work *w, const char *on)
{
	const struct record *schema = stage_schema(w->stage);
	const struct tensor *x, *name = record_offered(schema, "name"), *classes = record_find(schema, "classes");
	static const char *const columns[] = { "label", "split", "index" };
	char first[40];
	int views = count_views(w, on);

	if (!record_bool(schema, "fact.eval", false))
		return fail_code(EXIT_USAGE, "probe reads an evaluation: give augment the option --eval");
	if (views == 0)
		return refuse_on(schema, on);
	for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
		if (!record_offered(schema, columns[i]))
			return fail_code(EXIT_USAGE,
					 "the stage in front gives no '%s': probe needs label, split and index beside '%s0'",
					 columns[i], on);
		record_name(w->names, columns[i]);
	}
	if (w->export && name)
		record_name(w->names, "name");
	snprintf(first, sizeof(first), "%s0", on);
	x = record_offered(schema, first);
	if (x->rank < 2 || x->shape[0] < 1)
		return fail("'%s' has no samples or no features", first);
	features_init(&w->features, on, tensor_count(x) / x->shape[0], views, w->export && name ? (int)name->shape[1] : 0);
	format(w->features.data, sizeof(w->features.data), "%s", record_text(schema, "fact.data", ""));
	format(w->features.holdout, sizeof(w->features.holdout), "%s", record_text(schema, "fact.holdout", ""));
	if (classes && classes->dtype == U8)
		features_keep_classes(&w->features, classes->data, tensor_bytes(classes));
	if (w->pictures && prepare_pictures(w, on) < 0)
		return -1;
	w->steps = record_int(schema, "fact.steps", 0);
	w->samples = record_int(schema, "fact.samples", 0);
	return features_fit(&w->features, w->samples);
}

static int interrupted(const struct work *w)
{
	return fail_code(128 + stage_signal(w->stage), "interrupted: nothing is kept of an evaluation, give the line again");
}

/* Takes all batches, as many wants open as the line has room for. */
static int collect(struct work *w)
{
	int64_t wanted = 0;
	double start = now();

	for (int64_t step = 0; step < w->steps; step++) {
		struct record *batch;
		int64_t have;
		int r;

		if (stage_signal(w->stage))
			return interrupted(w);

		for (; wanted < w->steps && (wanted == step || stage_room(w->stage) > 0); wanted++)
			stage_want(w->stage, wanted, 0, 1, w->names);
		r = stage_take(w->stage, &batch);
		if (r <= 0)
			return r < 0 ? -1 : fail_code(EXIT_GONE, "upstream ended after %lld of %lld batches",
						      (long long)step, (long long)w->steps);
		r = features_add(&w->features, batch->tensors, batch->tensor_count);
		record_free(batch);
		if (r < 0)
			return -1;
		have = w->features.set[TRAIN].count + w->features.set[TEST].count;
		progress_show(step + 1, w->steps, "%lld of %lld samples  %.0f images/s", (long long)have, (long long)w->samples,
			      have / MAX(now() - start, 1e-9));
	}
	return 0;
}

static int run_tasks(struct work *w)
{
	if (!w->export)
		features_fold(&w->features);
	for (int i = 0; i < w->task_count; i++) {
		if (stage_signal(w->stage))
			return interrupted(w);
		progress_show(w->steps, w->steps, "%lld samples: %s", (long long)w->samples, w->tasks[i].spelling);
		if (probe_run(&w->tasks[i], &w->features, stdout) < 0)
			return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct options o = { .stage = STAGE_OPTIONS_INIT, .on = "feature" };
	struct work w = { 0 };
	int r;

	/* arguments */
	threads_passive(argv);
	if (parse(argc, argv, &o, &w) < 0 || isa_init() < 0)
		return stage_refuse("probe", false);

	/* prepare */
	memory_keep(true);
	w.stage = stage_new("probe", &o.stage, argc, argv);
	w.names = record_new(KIND_WANT);
	r = stage_connect(w.stage, NULL);
	if (r == 0)
		r = prepare(&w, o.on);

	/* one pass over the data, then the tasks */
	if (r == 0)
		r = collect(&w);
	if (r == 0)
		r = run_tasks(&w);

	/* close */
	record_free(w.names);
	features_release(&w.features);
	return stage_finish(w.stage, r);
}
