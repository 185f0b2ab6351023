/* onnx.c - the file around the graph: a ModelProto with inputs, outputs and metadata */
#include "lib/nn/onnx/onnx.h"
#include "lib/nn/onnx/graph.h"

#include "lib/base/files.h"

enum { IR_VERSION = 8, OPSET = 17, FLOAT = 1 };

static const struct param onnx_params[] = {
	{ "pixels", 0, 0, 1, "1: the input is RGB of 0 to 1, which the file normalises itself", NULL },
	{ "head", 0, 0, 1, "1: the head's output, too, as q", NULL },
	{ "bn", 0, 0, 1, "1: batch norm stays nodes of its own, not folded into convolutions", NULL },
	{ "batch", 0, 0, 65536, "images at a time; 0: any number", NULL },
	{ NULL },
};
static const struct entry formats[] = {
	{ "onnx", "ONNX, opset 17, for onnxruntime, OpenCV and others", onnx_params },
};
const struct table onnx_formats = TABLE("format", formats);

struct onnx_options onnx_options(const struct choice *format)
{
	return (struct onnx_options){ .head = choice_value(format, "head"), .bn = choice_value(format, "bn"),
				      .pixels = choice_value(format, "pixels"), .batch = choice_value(format, "batch") };
}

/* shape[0]: 0 where the batch may be any. */
static void put_value(struct proto *p, int field, const char *name, int rank, const int64_t *shape)
{
	size_t info = proto_open(p, field), type, tensor, dims, dim;

	proto_text(p, 1, name);
	type = proto_open(p, 2);
	tensor = proto_open(p, 1);
	proto_int(p, 1, FLOAT);
	dims = proto_open(p, 2);
	for (int i = 0; i < rank; i++) {
		dim = proto_open(p, 1);
		if (shape[i] == 0)
			proto_text(p, 2, "batch");
		else
			proto_int(p, 1, shape[i]);
		proto_close(p, dim);
	}
	proto_close(p, dims);
	proto_close(p, tensor);
	proto_close(p, type);
	proto_close(p, info);
}

/* Nodes up to an output, which then has its name and is (N, width). */
static int add_output(struct graph *g, int *from, enum output output, const char *name)
{
	int node = g->plan->outputs[output];

	for (; *from <= node; ++*from)
		if (graph_add(g, *from) < 0)
			return -1;
	graph_outputs(g, "Flatten", IN(g->values[node]), ATTRIBUTES(ONE("axis", 1)), 1, &name);
	g->values[node] = name;
	g->rank[node] = 2;
	return 0;
}

static void put_graph(struct proto *p, const struct graph *g, const struct onnx_options *o)
{
	const struct plan *plan = g->plan;
	size_t at = proto_open(p, 7);

	proto_append(p, &g->nodes);
	proto_text(p, 2, plan->net->arch->entry.name);
	proto_append(p, &g->tensors);
	put_value(p, 11, GRAPH_IMAGE, 4, (int64_t[]){ o->batch, 3, plan->height, plan->width });
	put_value(p, 12, "feature", 2, (int64_t[]){ o->batch, net_width(plan->net, OUTPUT_FEATURE) });
	if (o->head)
		put_value(p, 12, "q", 2, (int64_t[]){ o->batch, net_width(plan->net, OUTPUT_HEAD) });
	proto_close(p, at);
}

static void put_metadata(struct proto *p, const struct metadata *meta, int count)
{
	for (int i = 0; i < count; i++) {
		size_t at = proto_open(p, 14);

		proto_text(p, 1, meta[i].key);
		proto_text(p, 2, meta[i].value);
		proto_close(p, at);
	}
}

static void put_model(struct proto *p, const struct graph *g, const struct onnx_options *o,
		      const struct metadata *meta, int count)
{
	size_t at;

	proto_int(p, 1, IR_VERSION);
	proto_text(p, 2, "sprat");
	proto_text(p, 3, SPRAT_VERSION);
	put_graph(p, g, o);
	at = proto_open(p, 8);
	proto_text(p, 1, "");
	proto_int(p, 2, OPSET);
	proto_close(p, at);
	put_metadata(p, meta, count);
}

struct content {
	const char *path;
	struct proto p;
};

static int emit(int fd, void *arg)
{
	const struct content *c = arg;

	return write_all(fd, c->p.bytes, c->p.size) < 0 ? fail("unable to write '%s':", c->path) : 0;
}

int onnx_write(const char *path, const struct net *net, const float *params, const float *buffers, const struct onnx_options *o,
	       const struct metadata *meta, int meta_count)
{
	const struct net_config *c = net_configuration(net);
	struct plan *plan = plan_new(net, c->height, c->width);
	struct graph g = { .plan = plan, .params = params, .buffers = buffers, .keeps_norm = o->bn, .pixels = o->pixels };
	struct content content = { .path = path };
	int from = 0, r;

	if (!plan)
		return -1;
	r = add_output(&g, &from, OUTPUT_FEATURE, "feature");
	if (r == 0 && o->head)
		r = add_output(&g, &from, OUTPUT_HEAD, "q");
	if (r == 0) {
		put_model(&content.p, &g, o, meta, meta_count);
		r = write_whole(path, emit, &content);
	}
	proto_free(&content.p);
	graph_free(&g);
	plan_free(plan);
	return r;
}
