/*
 * engine.h - inside a plan: nodes, passes, and how operations read forward and backward (private to lib/nn and its tests)
 *
 * A node stores the raw output of one operation, once: (rows, h, w, ld) with ld = channels rounded up to LANES. Its value is
 * computed whenever somebody reads it:
 *
 *	z = raw * scale + shift        batch norm, or a bias, or nothing
 *	value = act(z)                 times the value of a gate node (image, channel), where the reader has one
 *
 * Backward, a node stores d = act'(z) * (gradient of its value), again once, and its readers need the gradient of raw:
 *
 *	dz = gate * d + pooled * act'(z)       pooled: the gradient of a mean-pool reader, the same over an image, never stored
 *	draw = gamma*istd * (dz - mean(dz) - xhat * mean(dz * xhat)) = c0*dz + c1*raw + c2
 *
 * The column sums of dz and dz*xhat are taken by whoever adds the last part of d, while the rows are hot ("finish"). For a
 * gated or pooled node they follow from sums over each image, so no further pass over the activations is needed:
 *
 *	sum dz = sum_n gate[n] * sum_hw d  +  pooled[n] * sum_hw act'(z)       and the same with xhat
 *
 * A layer norm stores nothing at all: its value is computed from the rows of its input, whenever it is read.
 *
 * Raw outputs and gradients are stored as f32, or as bf16 (config.bf16); all sums, statistics, weights' gradients, tokens to
 * which blocks add, and whatever has one pixel an image (pooled features, gates, the head) are stored as f32. What is stored is
 * read into scratch as floats or, as a factor of a bf16 product, as bf16; results come as floats in scratch and are stored by
 * value_put() or gradient_give().
 *
 * Each thread owns a contiguous range of images and goes through them in chunks that fit in L2; sums are reduced in thread
 * order. Threads meet only where batch norm needs the sums of all (walk.h, norm.c).
 */
#ifndef NN_ENGINE_H
#define NN_ENGINE_H

#include "lib/nn/kernels/kernels.h"
#include "lib/nn/engine/net.h"
#include "lib/tensor/backend.h"

#define NODES_MAX 512
#define KERNEL_MAX 16            /* k of any window */
#define CHUNK_BYTES (384 * 1024)   /* what a chunk's arrays may take of L2 */

struct task;
struct node;
struct graph;

/* What a forward pass of one image cannot do without; meter.h says what follows for a step. */
struct cost {
	double flops;            /* multiplications and additions of products */
	enum dtype element;      /* of their factors */
	double bytes;            /* written and read once */
};

/* Of which pass: the weights, or what the gradient of the input is computed by. */
enum factor { FACTOR_FORWARD, FACTOR_BACKWARD, FACTORS };

/*
 * What an operation does and is; all but the name may be left out. To add one: one file that defines it, one word of OPS() below.
 * forward, backward: the rows task->n0 .. n1-1 of the batch; backward adds to the gradients of the inputs and of the weight.
 */
struct op {
	struct entry entry;
	void (*forward)(struct task *t);
	void (*backward)(struct task *t);   /* NULL: of views, which want no gradient */
	size_t (*scratch)(const struct node *x, const struct node *in, bool grad);   /* bytes a thread needs */
	/* Of one that stores nothing, since its value is computed whenever it is read: as value_read(). */
	void (*read)(const struct task *t, int node, int n, int images, int y0, int y1, void *dst, enum dtype e, int pitch);
	/* What the products multiply by in place of the parameters: bytes (0: nothing), a thread's part of making it. */
	size_t (*factor_bytes)(const struct node *x, const struct node *in, enum factor which);
	void (*factor_make)(const struct task *t, const struct node *x, const struct node *in, enum factor which, void *to);
	struct cost (*cost)(const struct node *x, const struct node *in);   /* NULL: could be hidden behind others */
	/* Adds what a node does in evaluation, up to its batch norm, to an ONNX graph (onnx/graph.h); returns that value. */
	const char *(*onnx)(struct graph *g, const struct node *x);
	bool blind;              /* backward does not look at the values of its inputs again */
	bool raw;                /* reads its inputs as they are stored: they must be */
	bool shares;             /* inputs may have its gradient for theirs */
	bool pools;              /* the gradient of its input is the same all over an image: the input need not store it */
	bool wide;               /* stored as f32 whatever the rest is */
	bool layer;              /* a product that may have bf16 factors even of one pixel */
};

/* Every operation there is. */
#define OPS(X) X(view) X(conv) X(stem) X(depthwise) X(maxpool) X(meanpool) X(sum) X(tokens) X(token) X(layernorm) \
	X(attention) X(drop) X(shuffle) X(slice)
#define OP_DECLARE(name) extern const struct op op_##name;
OPS(OP_DECLARE)
extern const struct op *const op_list[];
extern const int op_count;

/* Of a node whose weight is filters: each multiplies at every pixel of the output. */
struct cost op_cost_filters(const struct node *x, enum dtype element);

/* How the backend convolves without patches (conv_whole.c). */
struct whole {
	int images, many;        /* of a call: most, a power of two; many: for the weight's gradient */
	bool flips;              /* the gradient of the input is a convolution forward, by flipped weights */
	size_t filters[CONV_WAYS];   /* bytes; 0: that way is not the backend's */
};

struct node {
	const struct op *op;
	int in[2];               /* nodes read, -1: none */
	int gate;                /* node whose value multiplies that of in[0] while this one reads it, -1: none */
	int h, w, c, ld;
	int k, stride, pad;
	int heads;               /* of attention */
	enum act act;
	int from;                /* of op_slice: first channel */
	int grid[2];             /* of op_tokens: rows and columns that the position embedding is laid out for */
	double drop;             /* of op_drop: probability */
	bool by_image;           /* ... of a whole image, not of an element */
	int64_t weight, bias, gamma, beta;   /* in the flat parameters, -1: none */
	int64_t mean, var;       /* in the flat buffers, -1: none */
	double eps;              /* of batch norm, of layer norm */
	bool trained;            /* some parameter of it is not frozen */
	bool fixed;              /* batch norm by running statistics in every mode */
	int64_t weights;         /* elements of weight */
	enum dtype store;      /* of raw and d */
	enum dtype factor;     /* of the products' factors */
	const struct conv_method *method;   /* of op_conv: conv.h */
	struct whole whole;

	/* set by plan_new: who reads this node's value, and how its gradient comes about */
	int readers, last_reader;
	bool output;             /* one of the plan's outputs */
	int pool;                /* mean-pool reader whose gradient is never stored, -1: none */
	int gated;               /* gate of the one reader that has a gate, -1: none */
	bool stored;             /* has a d of its own or shares one */
	int share;               /* node whose d this one shares, itself when it shares none */
	bool first[2], last[2];  /* this operation is the first, the last to add to d of in[i] */
	bool complete[2];        /* ... and after it the threads meet for the column sums of in[i] */
};

static inline bool is_view(const struct node *x)
{
	return !x->op->backward;
}

struct net {
	struct net_config config;
	const struct arch *arch;
	const struct backend *backend[DTYPES];   /* who multiplies F32, BF16 (NULL: nobody) */
	char head[256], predictor[1024];   /* config.head, config.predictor */
	struct predictors predictors;
	char freeze[1024], rates[1024];   /* config.freeze, config.rates */
	int width[OUTPUTS];      /* 0: there is none */
	struct net_tensor *tensors;
	struct init { double normal, uniform, value; } *inits;   /* beside tensors */
	int tensor_count, tensor_room;
	int64_t params, buffers;
};

struct plan {
	const struct net *net;
	int height, width;       /* of views */
	const struct backend *backend[DTYPES];   /* the net's */
	const struct kernels *kernels[DTYPES];   /* F32, BF16 */
	struct node nodes[NODES_MAX];
	int count;
	int outputs[OUTPUTS];    /* nodes, -1: there is none */
	int first;               /* node that is trained: the backward pass ends with it */
};

/* Nodes that a pass goes through: without gradients, of keys and frozen networks, none behind the head. */
static inline int plan_end(const struct plan *plan, bool grad)
{
	return grad ? plan->count : 1 + MAX(plan->outputs[OUTPUT_FEATURE], plan->outputs[OUTPUT_HEAD]);
}

/* What a pass keeps of a node. Of per-channel vectors (ld) each thread has a copy of its own, p->channels apart. */
struct state {
	char *raw, *d;           /* of the first thread, the others' arena_size apart: value_at(), gradient_at() */
	void *factor[FACTORS];   /* NULL: the parameters themselves */
	float *scale, *shift, *xscale, *xshift;
	float *c;                /* (3, ld): c0, c1, c2 */
	float *images;           /* (batch, 2, ld): sums of d and d*xhat over each image, of gated nodes */
	float *slopes;           /* (batch, 2, ld): sums of act'(z) and act'(z)*xhat over each image, of pooled nodes */
};

/* Weights as factors. */
struct factors {
	char *base;
	size_t size;
	bool fresh;              /* made of the present parameters */
};

struct pass {
	const struct plan *plan;
	int batch, threads;
	bool grad;
	int end;                 /* plan_end() */
	int rows;
	enum pass_mode mode;
	struct meter *meter;     /* NULL: off */
	const uint8_t *views;
	struct masks masks;
	struct state *state;
	char *arena;             /* raw and d */
	float *vectors, *images; /* per-channel vectors; sums over images */
	size_t arena_size;       /* of each thread, in bytes */
	size_t channels, images_size;   /* in floats; the first for each thread */
	struct factors *factors, *own;   /* made of the parameters; own: not shared, else NULL */
	char **scratch;          /* of each thread */
	void **rooms[DTYPES];    /* of each thread, those of plan->backend[]; the same where that is */
	float **partial;         /* (2, partial_size): weight gradients of thread 1 and up; [0] is NULL */
	size_t scratch_size;     /* in bytes */
	size_t partial_size;
	double *sums;            /* (2, threads, 2 slots, 2, ldmax): column sums, see norm.c */
	int ldmax;
	float *outputs[OUTPUTS];
};

/* One thread's share of the pass; x, in and id name the operation at work. */
struct task {
	const struct plan *plan;
	struct pass *p;
	const struct node *x, *in;       /* the node and its first input */
	int id, thread, n0, n1;
	const float *params;
	float *weight_grad, *bias_grad;  /* where this thread adds its part of the weight's and the bias's gradient */
	char *scratch;
	float *vectors;                  /* VECTORS of ldmax, for per-channel values */
	double *sums;                    /* (2 slots, 2, ldmax): this thread's column sums */
};
#define VECTORS 4

/* --- chunks: whole images, or bands of rows of one image --- */
struct chunk {
	int n, images;           /* first image, count */
	int y0, y1;              /* rows of the output */
	int end, h, rows, group; /* private: iteration */
};
/* target: pixels a chunk should have. Use: for (struct chunk c = chunk_over(t, h, w, target); chunk_next(&c);) */
struct chunk chunk_over(const struct task *t, int h, int w, int target);
bool chunk_next(struct chunk *c);

/* --- values and gradients of nodes --- */
struct affine norm_affine(const struct task *t, int node);
static inline const struct kernels *kernels_of(const struct task *t, int node)
{
	return t->plan->kernels[t->plan->nodes[node].store];
}
/* Rows y0..y1 of images n.. of a node's value into dst, pixels ld apart (the view's 3), rows pitch pixels apart; gate: a node,
 * or -1 for none; e: what dst holds, F32, or BF16 where that is stored or the image is one pixel. */
void value_read(const struct task *t, int node, int gate, int n, int images, int y0, int y1, void *dst, enum dtype e, int pitch);
/* Rows of images in scratch, with borders left and right: row y of image i at (i*rows + y - top), pixel x at (x + left). */
struct tile {
	char *base;
	enum dtype element;
	int images, rows, top, left, w, ld;
};
void *tile_at(const struct tile *t, int image, int y, int x);
/* Zeros left and right of rows rows of w pixels, in a tile whose base, element, left, w and ld are set. */
void tile_clear(const struct tile *t, int64_t rows, int w);
/* The value of in[0] under a chunk's output rows, with borders of pad pixels in a width of tile_width(). */
struct tile tile_values(const struct task *t, const struct chunk *c, void *base, enum dtype e);
int tile_width(const struct node *x, const struct node *in);
/* Taps (of k) from *first on that stay inside 0..size when the first one lies at position at. */
static inline int inside(int at, int k, int size, int *first)
{
	*first = MAX(0, -at);
	return MIN(k, size - at) - *first;
}
/* Whether a node's value as elements e is its raw output, so that it may be read in place. */
bool value_is_raw(const struct node *x, int gate, enum dtype e);
/* Value of one row (an image's vector) of a node of 1x1. */
void value_vector(const struct task *t, int node, int n, float *dst);
/* How far one call of a kernel goes: all images, or an image's rows, or a row. */
struct stretch {
	int images, rows;
};
struct stretch value_stretch(const struct node *x, int images, int y0, int y1, int pitch, bool by_image);
/* Rows of what is stored, through an affine and an activation. */
void value_rows(const struct kernels *k, enum dtype store, enum dtype e, void *dst, const void *src, int64_t rows, int ld,
	       const struct affine *f, const float *gate, enum act act);
/* Floats of one pixel an image on their way to be factors, where neither gates nor pooled gradients lie. */
static inline float *pixel_room(const struct task *t)
{
	return t->vectors + (size_t)(VECTORS - 1) * t->p->ldmax;
}
/* What image n's stored gradient is multiplied by, and what is added at every pixel before act'; (ld) each. */
void gradient_image(const struct task *t, int n, float *gate, float *pooled);
/* Gradient of raw of t's node, the same rows, as elements e. */
void gradient_read(const struct task *t, int n, int images, int y0, int y1, void *dst, enum dtype e, int pitch);
/* Whether that gradient is d as it is stored. */
bool gradient_is_stored(const struct node *x, enum dtype e);
/* Adds part, rows y0..y1 of whole width (floats, ld of the input), to d of in[slot]; the last part makes it d *= act'(z) with
 * its column sums. Bands of an image come in order; part NULL: what is there already. */
void gradient_give(const struct task *t, int slot, int n, int images, int y0, int y1, const float *part);
/* d *= act'(z) and the column sums of whole images of a node without a gate. */
void gradient_finish(const struct task *t, int slot, int node, int n, int images);

/* Column sums for batch norm: of rows of t's node, from the sum and the sum of squares of their differences from an origin; of
 * dz and dz*xhat, of the node x in slot. */
void norm_add_rows(const struct task *t, int64_t rows, const float *origin, const float *sum, const float *squares);
void norm_add_gradient(const struct task *t, int slot, const struct node *x, const float *sum, const float *dots);
/* Those that a thread wrote before meeting number; the next thread's begin norm_stride() numbers later. */
double *norm_sums(const struct pass *p, int meeting, int thread);
size_t norm_stride(const struct pass *p);
/* A thread's copy of a per-channel vector. */
float *norm_own(const struct task *t, float *vector);
/* Whether the column sums of a node's gradient must wait for its own turn. */
static inline bool deferred(const struct node *x)
{
	return x->pool >= 0 || x->gated >= 0;
}
void *value_at(const struct task *t, int node, int n, int y);
void *gradient_at(const struct task *t, int node, int n, int y);
/* Stores rows of t's node from floats (NULL: they are stored already), and takes their column sums where BN statistics want
 * them. */
void value_put(const struct task *t, int n, int y, const float *from, int64_t rows);
/* Whether value_put() and gradient_give() store a node's rows past the caches. */
bool value_past(const struct task *t, int node);
/* Column sums of rows of the gradient of raw, where the node has a bias. */
void gradient_bias(const struct task *t, const void *dy, enum dtype e, int64_t rows);

/* --- products --- */
/* By the net's backend, on this thread. */
static inline void task_multiply(const struct task *t, const struct product *p)
{
	t->plan->backend[p->element]->multiply(t->p->rooms[p->element][t->thread], p);
}
/* What AMX does below products, NULL: it does not multiply bf16 here. */
static inline const struct amx *amx_of(const struct plan *plan)
{
	return plan->backend[BF16] ? plan->backend[BF16]->amx : NULL;
}
/* Places for a pass's factors; a thread's part of making them, to be done before any node runs. */
void factors_use(struct pass *p, struct factors *f);
void factors_make(const struct task *t);
/* Sizes of scratch that start on cache lines. */
static inline size_t padded(size_t bytes)
{
	return (bytes + 63) / 64 * 64;
}

/* What op_drop multiplies the value of a row of the pass by, (h, w, ld). */
void drop_mask(const struct pass *p, int node, int row, float *mask);

/* --- a new plan: what other rooms do for it --- */

/* Nodes of a plan whose net, height and width are set, head and predictor included; lay: the plan's net, whose tensors are laid
 * out on the way, NULL where they are there (model/). -1 after fail(). */
int build_plan(struct plan *plan, struct net *lay);
/* Marks the tensors that config.freeze and config.rates name, in a net that is laid out (model/). -1 after fail(). */
int freeze_tensors(struct net *net);
int freeze_rates(struct net *net);
/* Chooses the method of every convolution; elements are linked already (conv/). */
void conv_link(struct plan *plan);

#endif
