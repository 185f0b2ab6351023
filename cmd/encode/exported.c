/* exported.c - encode --export: a network's weights as a file for other runtimes; nothing is served, nothing comes in */
#include "cmd/encode/encode.h"

#include "lib/nn/onnx/onnx.h"

enum { META = 8 };

/* What the file says of the views that it was trained on, as an augment would. */
static struct record *views_of(const struct tensors *file, const struct options *o)
{
	static const char *const names[] = { "mean", "std" };
	const char *made = fact_of(file, "size");
	struct record *schema;
	int64_t size = o->size;

	if (!size && made && (parse_int(made, &size) < 0 || size < 1 || size > VIEW_MOST)) {
		fail("'%s' says that its images are '%s' pixels a side", o->weights, made);
		return NULL;
	}
	if (!size) {
		fail_code(EXIT_USAGE, "'%s' does not tell the size of its images: give --size N", o->weights);
		return NULL;
	}
	schema = record_new(KIND_SCHEMA);
	record_offer(schema, "view0", U8, 4, (int64_t[]){ 1, size, size, 3 });
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		char fact[16];

		snprintf(fact, sizeof(fact), "fact.%s", names[i]);
		if (fact_of(file, names[i]))
			record_set_text(schema, fact, fact_of(file, names[i]));
	}
	return schema;
}

static struct record *read_views(const struct options *o)
{
	struct tensors file;
	struct record *schema;

	if (tensors_open(&file, o->weights) < 0)
		return NULL;
	schema = views_of(&file, o);
	if (schema && unsettled(&file) > UNSETTLED)
		note("'%s' was trained for a short time: its running statistics, which the new file goes by, are still %.0f %% "
		     "those of the start",
		     o->weights, 100 * unsettled(&file));
	tensors_close(&file);
	return schema;
}

static int describe(const struct net *net, const struct record *schema, const struct onnx_options *format, char size[16],
		    struct metadata *m)
{
	const struct net_config *c = net_configuration(net);
	const char *mean = record_text(schema, "fact.mean", NULL), *std = record_text(schema, "fact.std", NULL);
	int n = 0;

	snprintf(size, 16, "%d", c->height);
	m[n++] = (struct metadata){ (char *)"arch", (char *)c->arch->entry.name };
	m[n++] = (struct metadata){ (char *)"small", (char *)(c->small ? "yes" : "no") };
	m[n++] = (struct metadata){ (char *)"size", size };
	if (mean && std) {
		m[n++] = (struct metadata){ (char *)"mean", (char *)mean };
		m[n++] = (struct metadata){ (char *)"std", (char *)std };
	}
	if (format->head)
		m[n++] = (struct metadata){ (char *)"head", (char *)c->head };
	m[n++] = (struct metadata){ (char *)"input", (char *)(format->pixels ? "RGB of 0 to 1"
			: "RGB of 0 to 1, less mean, divided by std") };
	return n;
}

static int check_format(const struct frozen *w, const struct options *o, const struct record *schema,
			const struct onnx_options *format)
{
	if (format->head && !*w->names[OUTPUT_HEAD])
		return fail_code(EXIT_USAGE, "'%s' has no head: leave head=1 out", o->weights);
	if (format->pixels && (!record_scalar(schema, "fact.mean") || !record_scalar(schema, "fact.std")))
		return fail_code(EXIT_USAGE, "'%s' does not tell the mean and the deviation that its images were normalised by: "
				 "leave pixels=1 out", o->weights);
	return 0;
}

static int write(const struct frozen *w, const struct options *o, const struct record *schema)
{
	struct onnx_options format = onnx_options(&o->format);
	struct metadata meta[META];
	char size[16];
	int count = describe(w->net, schema, &format, size, meta);

	if (check_format(w, o, schema, &format) < 0 ||
	    onnx_write(o->export, w->net, w->params, w->buffers, &format, meta, count) < 0)
		return -1;
	note("'%s': image f32[N,3,%s,%s], feature f32[N,%d]%s", o->export, size, size, net_width(w->net, OUTPUT_FEATURE),
	     format.head ? ", q" : "");
	return 0;
}

int export(const struct options *options)
{
	struct options o = *options;
	struct frozen w = { 0 };
	struct record *schema;
	int r;

	if (!o.weights)
		return fail_code(EXIT_USAGE, "--export writes trained weights: give them with -w FILE");
	o.frozen = true;         /* as a teacher's: no predictor, a head that the file lacks is not made up */
	schema = read_views(&o);
	if (!schema)
		return -1;
	r = frozen_load(&w, &o, schema);
	if (r == 0)
		r = write(&w, &o, schema);
	frozen_release(&w);
	record_free(schema);
	return r;
}
