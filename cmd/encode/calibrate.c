/* calibrate.c - BN statistics of a frozen network from one pass over the training images */
#include "cmd/encode/encode.h"

/* Gathers training images over batches, and averages the statistics of as many at a time as a batch holds. */
struct calibration {
	struct frozen *w;    /* whose buffers have the statistics of the group at hand */
	struct pass *pass;
	int batch;
	uint8_t *rows;       /* a batch of views, count of them there */
	int count;
	int64_t used;        /* groups that were averaged */
	double *sum;         /* of their statistics */
};

static void take_statistics(struct calibration *c)
{
	int64_t n = net_buffers(c->w->net);

	net_forward(c->w->net, c->pass, c->w->params, c->w->buffers, c->rows, NULL, c->count, NET_KEY);
	for (int64_t i = 0; i < n; i++)
		c->sum[i] += c->w->buffers[i];
	c->used++;
	c->count = 0;
}

/* The held-out images lie evenly in every batch: those of the training split come together from as many batches as it takes. */
static void gather_rows(struct calibration *c, const struct record *batch)
{
	const struct tensor *views = record_find(batch, "view0"), *split = record_find(batch, "split");
	size_t row_bytes = tensor_bytes(views) / views->shape[0];

	for (int64_t i = 0; i < views->shape[0]; i++) {
		if (tensor_i32(split)[i] != 0)
			continue;
		memcpy(c->rows + (size_t)c->count++ * row_bytes, tensor_u8(views) + (size_t)i * row_bytes, row_bytes);
		if (c->count == c->batch)
			take_statistics(c);
	}
}

static int read_training(struct stage *s, struct calibration *c)
{
	int64_t steps = record_int(stage_schema(s), "fact.steps", 0);
	struct record *names = record_new(KIND_WANT), *batch;
	int r = 1;

	record_name(names, "view0");
	record_name(names, "split");
	for (int64_t asked = 0, step = 0; r > 0 && step < steps; step++) {
		while (asked < steps && stage_room(s) > 0)
			stage_want(s, asked++, 0, 1, names);
		r = stage_take(s, &batch);
		if (r > 0) {
			gather_rows(c, batch);
			record_free(batch);
		}
	}
	record_free(names);
	return r < 0 ? -1 : r > 0 ? 0 : fail_code(EXIT_GONE, "the stage in front ended before its last batch");
}

int calibrate(struct stage *s, struct frozen *w, struct pass *pass, int batch)
{
	size_t row_bytes = 3 * (size_t)net_configuration(w->net)->height * net_configuration(w->net)->width;
	int64_t n = net_buffers(w->net);
	struct calibration c = { .w = w, .pass = pass, .batch = batch, .rows = xmalloc(batch * row_bytes), .sum = xcalloc(n, sizeof(*c.sum)) };
	int r = read_training(s, &c);

	if (r == 0 && c.used == 0 && c.count > 0)
		take_statistics(&c);
	if (r == 0 && c.used == 0)
		r = fail_code(EXIT_USAGE, "--calibrate found no training image: leave --split out, or hold less out");
	for (int64_t i = 0; r == 0 && i < n; i++)
		w->buffers[i] = (float)(c.sum[i] / (double)c.used);
	free(c.rows);
	free(c.sum);
	return r;
}
