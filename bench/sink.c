/*
 * sink - stands behind augment (or the feeder): wants all views, drops them, and prints what arrives
 *
 *	augment -j1 photos.tar | sink --every 0.5
 *
 * A JSON line every so many seconds: images_s, samples a second, and gb_s, bytes out of the socket. --skip E is silent about
 * the first E epochs, in which a cache fills.
 */
#include "lib/base/progress.h"
#include "lib/stream/stage.h"

struct options {
	struct stage_options stage;
	double every;
	int64_t skip;
};

static const struct option_row rows[] = {
	{ 0, "every", OPT_REAL, offsetof(struct options, every), 0, 1e6, "S", "seconds a line stands for, at least", NULL },
	{ 0, "skip", OPT_INT, offsetof(struct options, skip), 0, 1e9, "E", "epochs to be silent about", NULL },
	STAGE_ROWS(struct options, stage),
	STAGE_CLIENT_ROWS(struct options, stage),
	OPTIONS_END,
};

static const struct manual manual = {
	"sink", "[OPTION]...", "Read a stream of views and say how fast it comes.", NULL, rows
};

/* What arrived since the last line. */
struct count {
	double since;
	int64_t samples, bytes;
};

static void count(struct count *c, const struct record *batch, double every)
{
	double t = now(), seconds = t - c->since;

	c->samples += batch->tensors[0].shape[0];
	for (int i = 0; i < batch->tensor_count; i++)
		c->bytes += (int64_t)tensor_bytes(&batch->tensors[i]);
	if (seconds < every)
		return;
	printf("{\"images_s\": %.2f, \"gb_s\": %.4f}\n", (double)c->samples / seconds, (double)c->bytes / seconds / 1e9);
	fflush(stdout);
	*c = (struct count){ .since = t };
}

static struct record *choose_names(const struct record *schema)
{
	struct record *names = record_new(KIND_WANT);

	for (int i = 0; i < schema->offer_count; i++)
		if (strncmp(schema->offers[i].name, "view", 4) == 0)
			record_name(names, schema->offers[i].name);
	return names;
}

/* 0 at the end of the run, -1. */
static int read_all(struct stage *s, const struct options *o)
{
	struct record *names = choose_names(stage_schema(s)), *batch;
	int64_t steps = record_int(stage_schema(s), "fact.steps", 0), asked = 0;
	struct count c = { .since = now() };
	int r = 1;

	for (int64_t step = 0; r > 0 && step < steps; step++) {
		while (asked < steps && stage_room(s) > 0)
			stage_want(s, asked++, 0, 1, names);
		r = stage_take(s, &batch);
		if (r <= 0)
			break;
		if (record_int(batch, "epoch", 0) < o->skip)
			c.since = now();
		else
			count(&c, batch, o->every);
		record_free(batch);
	}
	record_free(names);
	return r < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct options o = { .stage = STAGE_OPTIONS_INIT, .every = 0.5 };
	struct stage *s;
	int r;

	if (options_parse(&manual, &o, argc, argv) < 0)
		return stage_refuse(manual.name, false);
	memory_keep(true);
	s = stage_new(manual.name, &o.stage, argc, argv);
	r = stage_connect(s, NULL);
	if (r == 0)
		r = read_all(s, &o);
	return stage_finish(s, r);
}
