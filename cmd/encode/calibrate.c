/* calibrate.c - BN statistics of a frozen network from the training images, of many not all */
#include "cmd/encode/encode.h"

#include "lib/nn/train/statistics.h"

enum {
	PLACES = 16,         /* in the data set that a group is of */
	ENOUGH = 10000,      /* images: their mean is that of all to a hundredth of the deviation */
};

/* Gathers training images over batches, and averages the statistics of as many at a time as a batch holds. */
struct calibration {
	const struct frozen *w;
	struct pass *pass;
	int batch;
	size_t row_bytes;
	uint8_t *rows;       /* a batch of views, count of them there */
	int count;
	struct statistics statistics;
};

static void take_statistics(struct calibration *c)
{
	pass_forward(c->pass, c->w->params, c->statistics.group, c->rows, c->count, PASS_KEY);
	statistics_add(&c->statistics);
	c->count = 0;
}

static bool has_enough(const struct calibration *c)
{
	return (int64_t)c->statistics.groups * c->batch >= ENOUGH;
}

/* The held-out images lie evenly in every batch: those of the training split come together from as many answers as it takes. */
static void gather_rows(struct calibration *c, const struct record *batch)
{
	const struct tensor *views = record_find(batch, "view0"), *split = record_find(batch, "split");

	for (int64_t i = 0; i < views->shape[0] && !has_enough(c); i++) {
		if (tensor_i32(split)[i] != 0)
			continue;
		memcpy(c->rows + c->count++ * c->row_bytes, tensor_u8(views) + i * c->row_bytes, c->row_bytes);
		if (c->count == c->batch)
			take_statistics(c);
	}
}

static int64_t common_divisor(int64_t a, int64_t b)
{
	return b ? common_divisor(b, a % b) : a;
}

/* Item i of an order of 0 .. n-1 whose first ones, however many, lie evenly: steps of the golden ratio of n. */
static int64_t spread(int64_t i, int64_t n)
{
	int64_t step = MAX(1, (int64_t)(0.618 * (double)n));

	while (common_divisor(step, n) != 1)
		step++;
	return i % n * step % n;
}

/* Data sets are often sorted by class, and the statistics of one class are not those of all. So a group takes a part each of as
 * many steps, far apart: ask n is part n % parts of a step, and every part of every step has its turn once. A last step of fewer
 * rows, which may be too short for parts, comes whole. */
static void ask(struct stage *s, int64_t n, int64_t full, int64_t parts, const struct record *names)
{
	int64_t part = n % parts;

	if (n < full * parts)
		stage_want(s, spread(n / parts + part * full / parts, full), (int)part, (int)parts, names);
	else
		stage_want(s, full, 0, 1, names);
}

static int read_training(struct stage *s, struct calibration *c)
{
	int64_t steps = record_int(stage_schema(s), "fact.steps", 0), samples = record_int(stage_schema(s), "fact.samples", 0);
	int64_t full = samples == steps * c->batch ? steps : steps - 1, parts = MAX(1, MIN(MIN(PLACES, full), c->batch));
	int64_t asks = full * parts + steps - full;
	struct record *names = record_new(KIND_WANT), *batch;
	int r = 1;

	record_name(names, "view0");
	record_name(names, "split");
	for (int64_t asked = 0, taken = 0; r > 0 && taken < asks; taken++) {
		for (; asked < asks && stage_room(s) > 0; asked++)
			ask(s, asked, full, parts, names);
		r = stage_take(s, &batch);
		if (r > 0) {
			gather_rows(c, batch);
			record_free(batch);
		}
		if (has_enough(c))
			asks = asked;
	}
	record_free(names);
	return r < 0 ? -1 : r > 0 ? 0 : fail_code(EXIT_GONE, "the stage in front ended before its last batch");
}

int calibrate(struct stage *s, struct frozen *w, struct pass *pass, int batch)
{
	size_t row_bytes = 3 * (size_t)net_configuration(w->net)->height * net_configuration(w->net)->width;
	struct calibration c = { .w = w, .pass = pass, .batch = batch, .row_bytes = row_bytes, .rows = xmalloc(batch * row_bytes),
				 .statistics = statistics_new(net_buffers(w->net)) };
	int r = read_training(s, &c);

	if (r == 0 && c.statistics.groups == 0 && c.count > 0)
		take_statistics(&c);
	if (r == 0 && c.statistics.groups == 0)
		r = fail_code(EXIT_USAGE, "--calibrate found no training image: leave --split out, or hold less out");
	if (r == 0)
		statistics_move(&c.statistics, NULL, 1, w->buffers);
	statistics_release(&c.statistics);
	free(c.rows);
	return r;
}
