/*
 * feeder - stands in for augment and costs nothing: answers every want with one prepared record of random views
 *
 *	feeder --views 2 --size 32 --batch 256 --steps 1000 | encode -a resnet18 --small | loss moco:k=4096
 *
 * What encode and loss reach behind it is what a perfect augment would let them reach.
 */
#include "lib/base/rng.h"
#include "lib/stream/stage.h"

struct options {
	struct stage_options stage;
	int64_t views, size, batch, steps, seed;
};

static const struct option_row rows[] = {
	{ 0, "views", OPT_INT, offsetof(struct options, views), 1, RECORD_TENSORS, "N", "views of each sample", NULL },
	{ 0, "size", OPT_INT, offsetof(struct options, size), 1, 4096, "N", "pixels a side", NULL },
	{ 0, "batch", OPT_INT, offsetof(struct options, batch), 1, 65536, "N", "samples a step", NULL },
	{ 0, "steps", OPT_INT, offsetof(struct options, steps), 1, 1e9, "N", "length of the run, one epoch", NULL },
	{ 's', "seed", OPT_INT, offsetof(struct options, seed), 0, 1e15, "N", "seed of the views", NULL },
	STAGE_ROWS(struct options, stage),
	STAGE_SERVER_ROWS(struct options, stage),
	OPTIONS_END,
};

static const struct manual manual = {
	"feeder", "[OPTION]...", "Serve one record of random views again and again.", NULL, rows
};

/* The record: also what is offered. */
static struct record *prepare(const struct options *o)
{
	struct record *r = record_new(KIND_BATCH);
	struct rng rng = rng_at((uint64_t)o->seed, 0, 0, 0, RNG_AUGMENT);
	char name[TENSOR_NAME];

	for (int64_t v = 0; v < o->views; v++) {
		struct tensor t;

		snprintf(name, sizeof(name), "view%d", (int)v);
		t = tensor_new(name, U8, 4, (int64_t[]){ o->batch, o->size, o->size, 3 });
		for (int64_t i = 0; i < tensor_count(&t); i++)
			tensor_u8(&t)[i] = (uint8_t)(rng_u32(&rng) >> 24);
		record_add(r, t);
	}
	return r;
}

static struct record *describe(const struct stage *s, const struct options *o, const struct record *prepared)
{
	struct record *r = record_new(KIND_SCHEMA);

	stage_describe(s, r);
	record_set_bool(r, "trained", false);
	record_set_text(r, "fact.data", "random");
	record_set_int(r, "fact.samples", o->steps * o->batch);
	record_set_text(r, "fact.split", "all");
	record_set_text(r, "fact.holdout", "");
	record_set_text(r, "fact.recipe", "none");
	record_set_int(r, "fact.size", o->size);
	record_set_text(r, "fact.mean", "0.5,0.5,0.5");
	record_set_text(r, "fact.std", "0.25,0.25,0.25");
	record_set_int(r, "fact.views", o->views);
	record_set_int(r, "fact.batch", o->batch);
	record_set_int(r, "fact.steps_per_epoch", o->steps);
	record_set_int(r, "fact.epochs", 1);
	record_set_int(r, "fact.steps", o->steps);
	record_set_int(r, "fact.seed", o->seed);
	record_set_bool(r, "fact.eval", false);
	for (int i = 0; i < prepared->tensor_count; i++)
		record_offer(r, prepared->tensors[i].name, U8, 4, prepared->tensors[i].shape);
	return r;
}

/* Rows of one part of a tensor, without a copy. */
static struct tensor share_part(const struct tensor *whole, int64_t part, int64_t parts)
{
	struct tensor t = tensor_share(whole);
	int64_t first = part * whole->shape[0] / parts, end = (part + 1) * whole->shape[0] / parts;

	t.data = (char *)t.data + first * (int64_t)(tensor_bytes(whole) / (size_t)whole->shape[0]);
	t.shape[0] = end - first;
	return t;
}

static int answer(struct stage *s, const struct request *q, const struct record *prepared)
{
	const struct record *want = q->record;
	int64_t part = record_int(want, "part", 0), parts = record_int(want, "parts", 1);
	struct record *batch;
	int r = 0;

	if (part < 0 || part >= parts)
		return fail("refused a want: it names part %lld of %lld", (long long)part, (long long)parts);
	batch = record_new(KIND_BATCH);
	record_set_int(batch, "step", record_int(want, "step", 0));
	record_set_int(batch, "part", part);
	record_set_int(batch, "parts", parts);
	record_set_int(batch, "epoch", 0);
	if (stage_signal(s))
		record_set_int(batch, "stop", stage_signal(s));
	for (int i = 0; i < want->name_count && r == 0; i++) {
		const struct tensor *t = record_find(prepared, want->names[i]);

		if (t)
			record_add(batch, share_part(t, part, parts));
		else
			r = fail_code(EXIT_USAGE, "nobody gives '%s': feeder --views N makes view0 to view%d", want->names[i],
				      prepared->tensor_count - 1);
	}
	if (r == 0)
		r = stage_answer(s, q, batch);
	record_free(batch);
	return r;
}

int main(int argc, char **argv)
{
	struct options o = { .stage = STAGE_SERVER_OPTIONS_INIT, .views = 2, .size = 32, .batch = 256, .steps = 1000000 };
	struct record *prepared, *schema;
	struct stage *s;
	struct request q;
	int r;

	/* arguments */
	if (options_parse(&manual, &o, argc, argv) < 0)
		return stage_refuse(manual.name, true);

	/* prepare */
	memory_keep(false);
	s = stage_new(manual.name, &o.stage, argc, argv);
	prepared = prepare(&o);
	schema = describe(s, &o, prepared);
	r = stage_serve(s, false);

	/* serve */
	while (r == 0 && (r = stage_next(s, &q)) > 0)
		r = q.record->kind == KIND_OPEN ? stage_answer(s, &q, schema) : answer(s, &q, prepared);

	/* close */
	record_free(prepared);
	record_free(schema);
	return stage_finish(s, r);
}
