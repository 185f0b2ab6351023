/* frozen.c - a network that is not trained: its weights, and whether it has a head to serve */
#include "cmd/encode/encode.h"

#include "lib/nn/train/parts.h"
#include "lib/nn/weights/adopt.h"

static void call(struct frozen *w, const struct options *o)
{
	const char *before = o->as ? o->as : "";

	snprintf(w->names[OUTPUT_FEATURE], TENSOR_NAME, "%s%s", before, name_rows[NAME_FEATURE].prefix);
	if (net_width(w->net, OUTPUT_HEAD) > 0)
		snprintf(w->names[OUTPUT_HEAD], TENSOR_NAME, "%s", o->as ? o->as : name_rows[NAME_HEAD].prefix);
}

/* A head that the file lacks is not made up: without it there is only the feature to serve. */
static int load_weights(struct frozen *w, const struct options *o, const struct tensors *file)
{
	int read = adopt(w->net, file, o->weights, 0, w->params, w->buffers);

	if (o->eval && !o->calibrate && unsettled(file) > UNSETTLED)
		note("'%s' was trained for a short time: its running statistics are still %.0f %% those of the start; add "
		     "--calibrate",
		     o->weights, 100 * unsettled(file));
	if (read < 0 || read & LAYERS_OF(OUTPUT_HEAD) || net_width(w->net, OUTPUT_HEAD) == 0)
		return read < 0 ? -1 : 0;
	if (o->as || o->head)
		note("'%s' has no head: %s0 and the like are not given, only %s0 and the like", o->weights, w->names[OUTPUT_HEAD],
		     w->names[OUTPUT_FEATURE]);
	*w->names[OUTPUT_HEAD] = '\0';
	return 0;
}

static int make(struct frozen *w, const struct options *o, const struct record *schema, const struct tensors *file)
{
	struct net_config c = { 0 };

	if (o->predictor && strcmp(o->predictor, "none") != 0)
		return fail_code(EXIT_USAGE, "--predictor is about training: leave it out with --eval and --frozen");
	if (o->as && strlen(o->as) + 16 > TENSOR_NAME)
		return fail_code(EXIT_USAGE, "'%.40s...' is too long for a name: give a shorter one with --as", o->as);
	if (configure(&c, o, schema, file) < 0)
		return -1;
	w->net = net_new(&c);
	if (!w->net)
		return -1;
	w->by_batch = o->train_bn;
	if (w->by_batch && net_buffers(w->net) == 0)
		return fail_code(EXIT_USAGE, "'%s' has no batch norm: leave --train-bn out", c.arch->entry.name);
	call(w, o);
	w->params = xaligned(net_params(w->net) * sizeof(float));
	w->buffers = xaligned(net_buffers(w->net) * sizeof(float));
	net_init(w->net, (uint64_t)record_int(schema, "fact.seed", 0), w->params, w->buffers);
	if (file)
		return load_weights(w, o, file);
	note("no -w: the network is served as it is at random initialisation");
	return 0;
}

int frozen_load(struct frozen *w, const struct options *o, const struct record *schema)
{
	struct tensors file = { 0 };
	int r;

	if (o->weights && tensors_open(&file, o->weights) < 0)
		return -1;
	r = make(w, o, schema, o->weights ? &file : NULL);
	tensors_close(&file);
	return r;
}

void frozen_release(struct frozen *w)
{
	free(w->params);
	free(w->buffers);
	net_free(w->net);
}

/* Rows that go through the network together, from row on. */
static int slice_of(const struct frozen *w, int row, int rows, int most)
{
	int parts = (rows + most - 1) / most, part = 0;

	if (!w->by_batch)
		return MIN(most, rows - row);
	while (part_start(rows, part, parts) < row)
		part++;
	return part_rows(rows, part, parts);
}

void frozen_run(const struct frozen *w, struct pass *pass, const struct tensor *views, int most, float *const outputs[OUTPUTS])
{
	int rows = (int)views->shape[0];
	size_t row_bytes = tensor_bytes(views) / rows;

	for (int row = 0, n; row < rows; row += n) {
		n = slice_of(w, row, rows, most);
		pass_forward(pass, w->params, w->by_batch ? NULL : w->buffers, tensor_u8(views) + row * row_bytes, n,
			     w->by_batch ? PASS_KEY : PASS_EVAL);
		for (enum output i = 0; i < OUTPUTS; i++) {
			int64_t width = net_width(w->net, i);

			if (outputs[i])
				memcpy(outputs[i] + row * width, pass_output(pass, i), n * width * sizeof(float));
		}
	}
}
