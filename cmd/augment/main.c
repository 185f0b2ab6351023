/* augment - the first stage of a line: pictures in, batches of augmented views out */
#include <sys/resource.h>
#include <unistd.h>

#include "cmd/augment/augment.h"
#include "lib/base/isa.h"
#include "lib/base/threads.h"

enum { NICENESS = 10, SHARD = 10000 };

#define AT(field) offsetof(struct options, field)
static const struct option_row rows[] = {
	{ 'r', "recipe", OPT_CHOICE, AT(maker.recipe), 0, 0, "RECIPE", "how views are made", &recipe_table },
	{ 0, "size", OPT_INT, AT(maker.size), 0, VIEW_SIZE_MOST, "N", "pixels a side of a view; 0: the recipe's", NULL },
	{ 0, "views", OPT_INT, AT(maker.views), 0, MAKER_VIEWS, "N", "views of that size; 0: two, with --eval one", NULL },
	{ 0, "bags", OPT_TEXT, AT(maker.bags), 0, 0, "FILE", "the last half of the views is of like images", NULL },
	{ 0, "mix", OPT_TEXT, AT(maker.mix), 0, 0, "A+B", "one more view: view A with a box of view B", NULL },
	{ 0, "crops", OPT_TEXT, AT(maker.crops), 0, 0, "NxSIZE", "N more views of SIZE pixels; NxSIZE:key=value,...", NULL },
	{ 'b', "batch", OPT_INT, AT(maker.batch), 1, 1 << 20, "N", "images a batch", NULL },
	{ 'e', "epochs", OPT_INT, AT(maker.epochs), 1, 1e6, "N", "length of the run", NULL },
	{ 's', "seed", OPT_INT, AT(maker.seed), 0, 1e15, "N", "seed of every draw, here and further down", NULL },
	{ 0, "eval", OPT_FLAG, AT(maker.eval), 0, 0, NULL, "one pass in order; view0 by the recipe eval", NULL },
	{ 0, "split", OPT_TEXT, AT(maker.split), 0, 0, "NAME", "train, test or all", NULL },
	{ '0', "null", OPT_FLAG, AT(list), 0, 0, NULL, "stdin names the files, a NUL after each", NULL },
	{ 0, "labels", OPT_TEXT, AT(labels), 0, 0, "FILE", "classes: lines of name, tab, class", NULL },
	{ 0, "holdout", OPT_TEXT, AT(holdout), 0, 0, "FILE|N", "images that are the test split", NULL },
	{ 0, "like", OPT_TEXT, AT(like), 0, 0, "MODEL", "size, recipe, holdout ... as the run of MODEL had", NULL },
	{ 0, "exif", OPT_FLAG, AT(maker.exif), 0, 0, NULL, "turn pictures as their EXIF orientation says", NULL },
	{ 0, "fast", OPT_FLAG, AT(maker.fast), 0, 0, NULL, "decode coarsely, large JPEGs at reduced size", NULL },
	{ 0, "mean", OPT_TEXT, AT(maker.mean), 0, 0, "R,G,B", "for normalisation by encode; the recipe's", NULL },
	{ 0, "std", OPT_TEXT, AT(maker.std), 0, 0, "R,G,B", "for normalisation by encode; the recipe's", NULL },
	{ 0, "max-bad", OPT_REAL, AT(maker.max_bad), 0, 1, "SHARE", "of the images, and at least 8, may be unreadable", NULL },
	{ 0, "cache", OPT_INT, AT(maker.cache), 0, 1e15, "BYTES", "for decoded images, when all fit", NULL },
	{ 0, "profile", OPT_FLAG, AT(profile), 0, 0, NULL, "say at the end where the time went", NULL },
	{ 0, "describe", OPT_FLAG, AT(describe), 0, 0, NULL, "print counts, sizes, unreadable files, then end", NULL },
	{ 0, "dry-run", OPT_FLAG, AT(dry_run), 0, 0, NULL, "measure images a second, then end", NULL },
	{ 0, "pack", OPT_TEXT, AT(pack.pattern), 0, 0, "OUT-%06d.tar", "write WebDataset shards, then end", NULL },
	{ 0, "short", OPT_INT, AT(pack.short_side), 0, 65535, "N", "pack: short side of larger images; 0: as it is", NULL },
	{ 0, "shard", OPT_INT, AT(pack.shard), 1, 1e9, "N", "pack: images a shard", NULL },
	{ 0, "preview", OPT_TEXT, AT(preview), 0, 0, "OUT.png", "draw images beside their views, then end", NULL },
	STAGE_ROWS(struct options, stage),
	STAGE_SERVER_ROWS(struct options, stage),
	OPTIONS_END,
};

static const struct manual manual = {
	.name = "augment",
	.usage = "[OPTION]... DATA...",
	.summary = "Serve augmented views of the images in DATA: class folders, tars (- is stdin), IDX or CIFAR files.",
	.tail = "example:\n"
		"  augment --preview sheet.png photos\n"
		"  augment --recipe mocov2 --epochs 200 photos | encode -a resnet18 -o run | loss moco >> moco.jsonl\n",
	.rows = rows,
};

/* A data set of many shards holds a file open for each. */
static void allow_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static struct dataset *open_data(struct options *o, char **paths, int count)
{
	char *standard[] = { "-" };
	struct dataset *d;

	allow_files();
	if (o->list && count > 0) {
		fail_code(EXIT_USAGE, "-0 takes the names of all files from stdin, so '%s' is one too many", paths[0]);
		return NULL;
	}
	d = dataset_open(o->list ? standard : paths, o->list ? 1 : count, o->list);
	if (d && like_apply(o, d) < 0) {
		dataset_free(d);
		return NULL;
	}
	return d;
}

static void add_facts(struct record *r, const struct facts *f)
{
	record_set_text(r, "fact.data", f->data);
	record_set_int(r, "fact.samples", f->samples);
	record_set_text(r, "fact.split", f->split);
	record_set_text(r, "fact.holdout", f->holdout);
	record_set_text(r, "fact.labels", f->labels);
	record_set_text(r, "fact.recipe", f->recipe);
	if (*f->crops) /* runs without know nothing of it */
		record_set_text(r, "fact.crops", f->crops);
	if (*f->bags)
		record_set_text(r, "fact.bags", f->bags);
	if (*f->mix)
		record_set_text(r, "fact.mix", f->mix);
	record_set_int(r, "fact.size", f->size);
	record_set_text(r, "fact.mean", f->mean);
	record_set_text(r, "fact.std", f->std);
	record_set_int(r, "fact.views", f->views);
	record_set_int(r, "fact.batch", f->batch);
	record_set_int(r, "fact.steps_per_epoch", f->steps_per_epoch);
	record_set_int(r, "fact.epochs", f->epochs);
	record_set_int(r, "fact.steps", f->steps);
	record_set_int(r, "fact.seed", f->seed);
	record_set_bool(r, "fact.eval", f->eval);
	record_set_bool(r, "fact.exif", f->exif);
	record_set_bool(r, "fact.fast", f->fast);
}

/* One name a line. */
static void add_classes(struct record *r, const struct dataset *d)
{
	size_t size = 1, used = 0;
	char *text;

	for (int i = 0; i < d->class_count; i++)
		size += strlen(d->classes[i]) + 1;
	text = xcalloc(size, 1);
	for (int i = 0; i < d->class_count; i++) {
		for (const char *c = d->classes[i]; *c; c++)
			text[used++] = *c == '\n' ? '?' : *c;
		text[used++] = '\n';
	}
	if (d->class_count)
		record_add_text(r, "classes", text);
	free(text);
}

static struct record *describe(const struct stage *s, const struct options *o, const struct maker *m)
{
	struct record *schema = record_new(KIND_SCHEMA);
	struct tensor spec;

	stage_describe(s, schema);
	add_facts(schema, maker_facts(m));
	like_record(o, schema);
	add_classes(schema, maker_dataset(m));
	for (int i = 0; facts_offer(maker_facts(m), i, &spec); i++)
		record_offer(schema, spec.name, spec.dtype, spec.rank, spec.shape);
	return schema;
}

/* Makes what the batch lacks of the names that are wanted. */
static int make_rest(struct maker *m, const struct record *want, struct record *batch)
{
	const char *names[RECORD_NAMES];
	struct tensor made[RECORD_NAMES];
	int n = 0;

	for (int i = 0; i < want->name_count; i++)
		if (!record_find(batch, want->names[i]))
			names[n++] = want->names[i];
	if (maker_make(m, record_int(batch, "step", -1), (int)record_int(batch, "part", 0), (int)record_int(batch, "parts", 1),
		       names, n, made) < 0)
		return -1;
	for (int i = 0; i < n; i++)
		record_add(batch, made[i]);
	return 0;
}

/* Answers a want; batch: a record to be used again. The time of making is measured by those who make. */
static int answer(struct stage *s, struct maker *m, const struct request *q, struct record *batch, struct profile *spent)
{
	const struct record *want = q->record;
	int64_t step = record_int(want, "step", -1);
	int part = (int)record_int(want, "part", 0), parts = (int)record_int(want, "parts", 1);

	if (want->kind != KIND_WANT) {
		fail("unable to answer '%s': augment is not trained", kind_name(want->kind));
		return stage_decline(s, q);
	}
	record_reset(batch, KIND_BATCH);
	record_set_int(batch, "step", step);
	record_set_int(batch, "part", part);
	record_set_int(batch, "parts", parts);
	record_set_int(batch, "epoch", maker_epoch(m, step));
	if (stage_signal(s))
		record_set_int(batch, "stop", stage_signal(s));
	if (!stage_recall(s, want, batch) && make_rest(m, want, batch) < 0)
		return stage_decline(s, q);
	profile_start(spent);
	return stage_answer(s, q, batch);
}

static int serve(struct stage *s, const struct options *o, struct maker *m, struct profile *spent)
{
	struct record *schema = describe(s, o, m), *batch = record_new(KIND_BATCH);
	struct request q;
	double since = profile_program(spent);
	int r = stage_serve(s, false);

	profile_start(spent);
	while (r == 0 && (r = stage_next(s, &q)) > 0) {
		profile_mark(spent, PHASE_WAIT);
		r = q.record->kind == KIND_OPEN ? stage_answer(s, &q, schema) : answer(s, m, &q, batch, spent);
		profile_mark(spent, PHASE_SEND);
	}
	maker_spent(m, spent);
	if (maker_bad(m))
		note("left out %d unreadable images in all", maker_bad(m));
	profile_rest(spent, since, PHASE_SEND);
	maker_say_missed(m);
	if (spent->on)
		profile_note(spent);
	record_free(schema);
	record_free(batch);
	return r;
}

static struct options defaults(void)
{
	struct options o = {
		.stage = STAGE_SERVER_OPTIONS_INIT,
		.maker = MAKER_OPTIONS_INIT,
		.pack = { .shard = SHARD },
	};

	format(o.maker.recipe.spelling, sizeof(o.maker.recipe.spelling), "mocov2");
	return o;
}

/* With --like the defaults are a model's, and the line is read once more: what it gives explicitly wins. */
static int parse(struct options *o, int argc, char **argv)
{
	int first = options_parse(&manual, o, argc, argv);
	const char *like = o->like;
	bool eval = o->maker.eval;

	if (first < 0 || !like)
		return first;
	*o = defaults();
	o->like = like;
	o->maker.eval = eval; /* what is taken over depends on it */
	return like_defaults(o) < 0 ? -1 : options_parse(&manual, o, argc, argv);
}

int main(int argc, char **argv)
{
	struct options o = defaults();
	struct profile spent = { 0 };
	struct dataset *d;
	struct maker *m = NULL;
	struct stage *s;
	int first, r;

	/* arguments */
	threads_passive(argv);
	first = parse(&o, argc, argv);
	o.stage.serves = !is_alone(&o);
	if (first < 0 || isa_init() < 0)
		return stage_refuse(manual.name, o.stage.serves);

	/* prepare */
	memory_keep(false);
	s = stage_new(manual.name, &o.stage, argc, argv);
	if (nice(NICENESS) < 0)
		note("unable to run at a lower priority"); /* the trained stage should come first on shared cores */
	d = open_data(&o, argv + first, argc - first);
	if (d && is_alone(&o))
		return stage_finish(s, run_alone(&o, d));
	m = d ? maker_new(&o.maker, d) : NULL;
	if (!m)
		return stage_finish(s, -1);
	maker_profile(m, o.profile);

	/* serve */
	spent.on = o.profile;
	r = serve(s, &o, m, &spent);

	/* close */
	maker_free(m);
	return stage_finish(s, r);
}
