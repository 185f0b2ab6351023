/* graph.c - an ONNX graph while it is written; numbers of fields are onnx.proto's (IR version 8), operations those of opset 17 */
#include "lib/nn/onnx/graph.h"

#include <math.h>

/* --- names --- */

static const char *keep(struct graph *g, char *name)
{
	g->names = xrealloc(g->names, g->name_count + 1, sizeof(*g->names));
	return g->names[g->name_count++] = name;
}

static const char *new_name(struct graph *g, const char *what)
{
	return keep(g, xasprintf("%s_%d", what, g->name_count));
}

/* --- operations --- */

static void put_attribute(struct proto *p, const struct graph_attribute *a)
{
	static const int types[] = { [GRAPH_INT] = 2, [GRAPH_INTS] = 7, [GRAPH_REAL] = 1 };
	size_t at = proto_open(p, 5);

	proto_text(p, 1, a->name);
	if (a->kind == GRAPH_REAL)
		proto_float(p, 2, (float)a->real);
	for (int i = 0; i < a->count; i++)
		proto_int(p, a->kind == GRAPH_INT ? 3 : 8, a->ints[i]);
	proto_int(p, 20, types[a->kind]);
	proto_close(p, at);
}

void graph_outputs(struct graph *g, const char *type, const char *const *inputs, const struct graph_attribute *attributes,
		   int count, const char **outputs)
{
	struct proto *p = &g->nodes;
	size_t at = proto_open(p, 1);

	for (int i = 0; inputs[i]; i++)
		proto_text(p, 1, inputs[i]);
	for (int i = 0; i < count; i++) {
		outputs[i] = outputs[i] ? outputs[i] : new_name(g, type);
		proto_text(p, 2, outputs[i]);
	}
	proto_text(p, 3, outputs[0]);
	proto_text(p, 4, type);
	for (; attributes && attributes->name; attributes++)
		put_attribute(p, attributes);
	proto_close(p, at);
}

const char *graph_op(struct graph *g, const char *type, const char *const *inputs, const struct graph_attribute *attributes)
{
	const char *output = NULL;

	graph_outputs(g, type, inputs, attributes, 1, &output);
	return output;
}

/* --- constants --- */

static const char *put_tensor(struct graph *g, const char *name, int rank, const int64_t *shape, int type, const void *data,
			      size_t element)
{
	struct proto *p = &g->tensors;
	size_t at = proto_open(p, 5), size = element;

	for (int i = 0; i < rank; i++) {
		proto_int(p, 1, shape[i]);
		size *= shape[i];
	}
	proto_int(p, 2, type);
	proto_text(p, 8, name);
	proto_bytes(p, 9, data, size);
	proto_close(p, at);
	return name;
}

const char *graph_tensor(struct graph *g, const char *name, int rank, const int64_t *shape, const float *values)
{
	return put_tensor(g, name ? keep(g, xstrdup(name)) : new_name(g, "tensor"), rank, shape, 1, values, sizeof(*values));
}

const char *graph_number(struct graph *g, double value)
{
	return graph_tensor(g, NULL, 0, NULL, &(float){ (float)value });
}

const char *graph_ints(struct graph *g, int count, const int64_t *values)
{
	return put_tensor(g, new_name(g, "integers"), 1, &(int64_t){ count }, 7, values, sizeof(*values));
}

const struct net_tensor *graph_find(const struct graph *g, int64_t offset, bool buffer)
{
	const struct net *net = g->plan->net;

	for (int i = 0; i < net->tensor_count; i++)
		if (net->tensors[i].buffer == buffer && net->tensors[i].offset == offset)
			return &net->tensors[i];
	bug("no tensor is at %lld", (long long)offset);
}

const char *graph_parameter(struct graph *g, int64_t offset)
{
	const struct net_tensor *t = graph_find(g, offset, false);

	return graph_tensor(g, t->name, t->rank, t->shape, g->params + offset);
}

/* --- shapes --- */

const char *graph_reshape(struct graph *g, const char *value, int rank, const int64_t *shape)
{
	return graph_op(g, "Reshape", IN(value, graph_ints(g, rank, shape)), NO_ATTRIBUTES);
}

const char *graph_transpose(struct graph *g, const char *value, int rank, const int64_t *order)
{
	struct graph_attribute perm[2] = { { "perm", GRAPH_INTS, rank }, { NULL } };

	memcpy(perm[0].ints, order, rank * sizeof(*order));
	return graph_op(g, "Transpose", IN(value), perm);
}

const char *graph_slice(struct graph *g, const char *value, int axis, int64_t from, int64_t count)
{
	const char *starts = INTS(g, from), *ends = INTS(g, from + count);

	return graph_op(g, "Slice", IN(value, starts, ends, INTS(g, axis)), NO_ATTRIBUTES);
}

/* --- nodes of a plan --- */

int *graph_rank(struct graph *g, const struct node *x)
{
	return &g->rank[x - g->plan->nodes];
}

const char *graph_in(struct graph *g, const struct node *x, int slot)
{
	const char *value = g->values[x->in[slot]];

	if (slot > 0 || x->gate < 0)
		return value;
	/* OpenCV 4.6 multiplies wrongly with the gate behind. */
	return graph_op(g, "Mul", IN(g->values[x->gate], value), NO_ATTRIBUTES);
}

void graph_affine(const struct graph *g, const struct node *x, float *scale, float *shift)
{
	for (int c = 0; c < x->c; c++) {
		double s = g->params[x->gamma + c] / sqrt(g->buffers[x->var + c] + x->eps);

		scale[c] = (float)s;
		shift[c] = (float)(g->params[x->beta + c] - s * g->buffers[x->mean + c]);
	}
}

static const char *buffer(struct graph *g, int64_t offset)
{
	const struct net_tensor *t = graph_find(g, offset, true);

	return graph_tensor(g, t->name, t->rank, t->shape, g->buffers + offset);
}

static const char *norm(struct graph *g, const struct node *x, const char *value)
{
	const char *gamma, *beta, *mean;

	if (x->gamma < 0 || (!g->keeps_norm && x->weight >= 0))
		return value;
	gamma = graph_parameter(g, x->gamma);
	beta = graph_parameter(g, x->beta);
	mean = buffer(g, x->mean);
	return graph_op(g, "BatchNormalization", IN(value, gamma, beta, mean, buffer(g, x->var)),
			ATTRIBUTES(REAL("epsilon", x->eps)));
}

static const char *relu(struct graph *g, const char *z)
{
	return graph_op(g, "Relu", IN(z), NO_ATTRIBUTES);
}

static const char *relu6(struct graph *g, const char *z)
{
	const char *least = graph_number(g, 0);

	return graph_op(g, "Clip", IN(z, least, graph_number(g, 6)), NO_ATTRIBUTES);
}

static const char *hardswish(struct graph *g, const char *z)
{
	return graph_op(g, "HardSwish", IN(z), NO_ATTRIBUTES);
}

static const char *hardsigmoid(struct graph *g, const char *z)
{
	return graph_op(g, "HardSigmoid", IN(z), ATTRIBUTES(REAL("alpha", 1.0 / 6), REAL("beta", 0.5)));
}

static const char *sigmoid(struct graph *g, const char *z)
{
	return graph_op(g, "Sigmoid", IN(z), NO_ATTRIBUTES);
}

static const char *silu(struct graph *g, const char *z)
{
	return graph_op(g, "Mul", IN(z, sigmoid(g, z)), NO_ATTRIBUTES);
}

/* An operation of its own only since opset 20. */
static const char *gelu(struct graph *g, const char *z)
{
	const char *e = graph_op(g, "Div", IN(z, graph_number(g, sqrt(2))), NO_ATTRIBUTES);

	e = graph_op(g, "Add", IN(graph_op(g, "Erf", IN(e), NO_ATTRIBUTES), graph_number(g, 1)), NO_ATTRIBUTES);
	e = graph_op(g, "Mul", IN(z, e), NO_ATTRIBUTES);
	return graph_op(g, "Mul", IN(e, graph_number(g, 0.5)), NO_ATTRIBUTES);
}

static const char *(*const acts[])(struct graph *g, const char *z) = {
	[ACT_NONE] = NULL, [ACT_RELU] = relu, [ACT_RELU6] = relu6, [ACT_HARDSWISH] = hardswish, [ACT_HARDSIGMOID] = hardsigmoid,
	[ACT_SILU] = silu, [ACT_SIGMOID] = sigmoid, [ACT_GELU] = gelu,
};
_Static_assert(ARRAY_SIZE(acts) == ACTS, "an activation has no row");

int graph_add(struct graph *g, int node)
{
	const struct node *x = &g->plan->nodes[node];
	const char *value;

	if (!x->op->onnx)
		return fail("unable to export '%s': ONNX has no '%s', %s", g->plan->net->arch->entry.name, x->op->entry.name,
			    x->op->entry.summary);
	g->rank[node] = x->in[0] < 0 ? 4 : g->rank[x->in[0]];
	value = norm(g, x, x->op->onnx(g, x));
	g->values[node] = acts[x->act] ? acts[x->act](g, value) : value;
	return 0;
}

void graph_free(struct graph *g)
{
	proto_free(&g->nodes);
	proto_free(&g->tensors);
	for (int i = 0; i < g->name_count; i++)
		free(g->names[i]);
	free(g->names);
}
