/*
 * graph.h - an ONNX graph while it is written: operations add nodes to it, a plan's node after the other (private to lib/nn)
 *
 * Names stand for values. Images are (N, C, H, W) there, tokens (N, T, C), what has one pixel and is no image any more (N, C):
 * graph->rank tells, and is 4 after a pool of the whole image, 2 after a linear layer of that. What reads the value of a node
 * of a plan reads it behind its batch norm, activation and gate, as in engine.h.
 *
 *	static const char *sum_onnx(struct graph *g, const struct node *x)
 *	{
 *		return graph_op(g, "Add", IN(graph_in(g, x, 0), graph_in(g, x, 1)), NO_ATTRIBUTES);
 *	}
 */
#ifndef NN_GRAPH_H
#define NN_GRAPH_H

#include "lib/nn/engine/engine.h"
#include "lib/nn/onnx/proto.h"

#define GRAPH_IMAGE "image"      /* the input */
enum { GRAPH_RANK = 8 };

struct graph {
	const struct plan *plan;
	const float *params, *buffers;
	bool keeps_norm;         /* batch norm stays an operation of its own */
	bool pixels;             /* the input is pixels of 0 to 1, which the graph normalises itself */
	struct proto nodes, tensors;   /* fields of a GraphProto */
	const char *values[NODES_MAX];   /* of the plan's nodes */
	int rank[NODES_MAX];
	char **names;            /* all that were given, owned */
	int name_count;
};

/* An attribute of an operation: one integer, several, or a real number. */
struct graph_attribute {
	const char *name;
	enum { GRAPH_INT, GRAPH_INTS, GRAPH_REAL } kind;
	int count;
	int64_t ints[GRAPH_RANK];
	double real;
};
#define ONE(name, v) { name, GRAPH_INT, 1, { v }, 0 }
#define MANY(name, n, ...) { name, GRAPH_INTS, n, { __VA_ARGS__ }, 0 }
#define REAL(name, v) { name, GRAPH_REAL, 0, { 0 }, v }
#define ATTRIBUTES(...) (const struct graph_attribute[]){ __VA_ARGS__, { NULL } }
#define NO_ATTRIBUTES NULL
#define IN(...) (const char *const[]){ __VA_ARGS__, NULL }

/* Adds an operation; returns the name of its output. */
const char *graph_op(struct graph *g, const char *type, const char *const *inputs, const struct graph_attribute *attributes);
/* The same of count outputs, whose names are put into outputs where these are NULL. */
void graph_outputs(struct graph *g, const char *type, const char *const *inputs, const struct graph_attribute *attributes,
		   int count, const char **outputs);
/* Adds a constant. name: NULL, or one that nothing else has. values are copied. */
const char *graph_tensor(struct graph *g, const char *name, int rank, const int64_t *shape, const float *values);
const char *graph_number(struct graph *g, double value);
const char *graph_ints(struct graph *g, int count, const int64_t *values);
#define INTS(g, ...) graph_ints(g, sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t), (int64_t[]){ __VA_ARGS__ })

/* What input 0 or 1 of a plan's node is, its gate in it. */
const char *graph_in(struct graph *g, const struct node *x, int slot);
/* Where a node's rank stands, which is its first input's unless the operation sets another. */
int *graph_rank(struct graph *g, const struct node *x);
const char *graph_reshape(struct graph *g, const char *value, int rank, const int64_t *shape);   /* 0: as it is */
const char *graph_transpose(struct graph *g, const char *value, int rank, const int64_t *order);
/* Elements from on, count of them, along an axis. */
const char *graph_slice(struct graph *g, const char *value, int axis, int64_t from, int64_t count);

/* The tensor of a net at an offset of its parameters or its buffers. */
const struct net_tensor *graph_find(const struct graph *g, int64_t offset, bool buffer);
/* That tensor as a constant, under its own name. */
const char *graph_parameter(struct graph *g, int64_t offset);

/* What batch norm multiplies by and adds, (c) each, by the running statistics. */
void graph_affine(const struct graph *g, const struct node *x, float *scale, float *shift);
/* Of a node whose weight is filters or a linear layer's (filters.c): its batch norm in them, unless that is kept. */
const char *graph_filters(struct graph *g, const struct node *x);
/* Adds a node of the plan, after all before it. 0, or -1 after fail(): there is no such thing in ONNX. */
int graph_add(struct graph *g, int node);
void graph_free(struct graph *g);

#endif
