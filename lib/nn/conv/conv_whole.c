/*
 * conv_whole.c - dense convolutions of whole images by the backend's own kernels, in place of patches and products
 *
 * Patches are copied, k*k numbers for one; kernels that find the pixels themselves do without. They want f32, pixels without
 * gaps, their weights in an order of their own, and whole images: the values of a few are computed into scratch. Each thread
 * orders the weights for itself, just before it uses them: that takes a hundredth of the products' time, and a copy for all
 * threads would stay in memory until the backward pass.
 *
 * Backward, many images go into one gradient of the weight, since each comes in the kernel's order and must be added to the
 * thread's. Where the output is narrow, kernels have short loops and many taps lie outside, and with strides they are slow:
 * there the gradient is a product for each tap, of the pixels that have one.
 *
 * Which nodes, and how many images a call, follows from shapes alone: a net computes the same bytes each time.
 */
#include "lib/nn/conv/conv.h"

#define CALL_PIXELS 256        /* of the output in a call, about: they share the reading of the weights */
#define GRADIENT_PIXELS 1024   /* ... in a call for the weight's gradient: adding it costs as much as some 50 pixels */
#define NARROW 8               /* outputs of fewer columns */
#define FEW_CHANNELS 64        /* the kernels for the input's gradient are slower than those for the output */

/* With flipped weights the input's gradient is the output of a convolution of the output's gradient. */
static struct conv conv_of(const struct node *x, const struct node *in, int way, int images)
{
	if (way == CONV_INPUT && x->whole.flips)
		return (struct conv){ CONV_OUTPUT, images, x->h, x->w, x->c, in->h, in->w, in->c, x->k, 1, x->k - 1 - x->pad };
	return (struct conv){ way, images, in->h, in->w, in->c, x->h, x->w, x->c, x->k, x->stride, x->pad };
}

/* Floats of an image. */
static int64_t size_of(const struct node *x)
{
	return (int64_t)x->h * x->w * x->ld;
}

/* --- which nodes --- */

/* Where patches do not overlap there is nothing to gain. */
static bool may_be_whole(const struct node *x, const struct node *in)
{
	bool dense = x->c == x->ld && (in->c == in->ld || is_view(in));
	bool floats = x->factor == F32 && x->store == F32 && (in->store == F32 || is_view(in));

	return x->k > x->stride && x->k > 1 && dense && floats;
}

/* The largest power of two of images that have no more pixels than that; at least one. */
static int images_for(const struct node *x, int pixels)
{
	int images = 1;

	while (2 * images * x->h * x->w <= pixels)
		images *= 2;
	return images;
}

/* Whether the weight's gradient is a product for each tap: where the output is narrow, or strided and the input has channels
 * enough. */
static bool by_taps(const struct node *x, const struct node *in)
{
	return x->w < NARROW || (x->stride > 1 && !is_view(in));
}

/* False: the backend has no fast kernel for one of the ways. */
static bool find_filters(const struct plan *plan, void *room, struct node *x, const struct node *in)
{
	for (int way = 0; way < CONV_WAYS; way++) {
		struct conv c = conv_of(x, in, way, way == CONV_WEIGHT ? x->whole.many : x->whole.images);

		if ((way == CONV_INPUT && is_view(in)) || (way == CONV_WEIGHT && by_taps(x, in)))
			continue;
		x->whole.filters[way] = plan->backend[F32]->convolver->filters(room, &c);
		if (!x->whole.filters[way])
			return false;
	}
	return true;
}

static bool whole_choose(const struct plan *plan, void *room, struct node *x, const struct node *in)
{
	if (!plan->backend[F32]->convolver || !may_be_whole(x, in))
		return false;
	x->whole.images = images_for(x, CALL_PIXELS);
	x->whole.many = images_for(x, GRADIENT_PIXELS);
	x->whole.flips = x->c <= FEW_CHANNELS && conv_flips(x, in);
	return find_filters(plan, room, x, in);
}

static size_t factor_bytes(const struct node *x, const struct node *in, enum factor which)
{
	(void)in;
	return which == FACTOR_BACKWARD && x->whole.flips ? x->weights * sizeof(float) : 0;
}

static void factor_make(const struct task *t, const struct node *x, const struct node *in, enum factor which, void *to)
{
	(void)which;
	conv_flip(t, x, in, to);
}

/* --- scratch --- */

/* What scratch holds: the value of the input, the output or its gradient, filters, and what is needed for one call. */
struct arrays {
	float *in, *out, *filters, *call;
	size_t bytes;
};

static float *take(struct arrays *p, char *base, size_t bytes)
{
	float *at = (float *)(base + p->bytes);

	p->bytes += padded(bytes);
	return at;
}

static struct arrays lay(const struct node *x, const struct node *in, bool grad, char *base)
{
	const struct whole *w = &x->whole;
	size_t input = size_of(in) * sizeof(float), output = size_of(x) * sizeof(float);
	size_t pixel = (in->ld + x->ld) * sizeof(float), taps = w->many * (size_t)x->h * x->w * pixel;
	struct arrays p = { 0 };

	p.in = take(&p, base, (grad ? w->many : w->images) * input);
	p.out = take(&p, base, (grad ? w->many : w->images) * output);
	p.filters = take(&p, base, w->filters[grad ? CONV_INPUT : CONV_OUTPUT]);
	p.call = take(&p, base, !grad ? 0 : MAX(w->images * input, w->filters[CONV_WEIGHT] ? w->filters[CONV_WEIGHT] : taps));
	return p;
}

static size_t whole_scratch(const struct node *x, const struct node *in, bool grad)
{
	size_t forward = lay(x, in, false, NULL).bytes;

	return grad ? MAX(forward, lay(x, in, true, NULL).bytes) : forward;
}

/* --- calls --- */

/* Images of the next call, of those that are left: a power of two, at most most. */
static int next_call(int most, int left)
{
	while (most > left)
		most /= 2;
	return most;
}

static void order(const struct task *t, int way, int images, const float *weight, float *filters)
{
	struct conv c = conv_of(t->x, t->in, way, images);

	t->plan->backend[F32]->convolver->order(t->p->rooms[F32][t->thread], &c, (float *)weight, filters);
}

static void convolve(const struct task *t, int way, int images, const float *in, float *filters, const float *out)
{
	struct conv c = conv_of(t->x, t->in, way, images);

	if (c.way != way) {   /* forward, from the output's gradient to the input's */
		const float *gradient = out;

		out = in;
		in = gradient;
	}
	t->plan->backend[F32]->convolver->convolve(t->p->rooms[F32][t->thread], &c, (float *)in, filters, (float *)out);
}

/* The input of a few images, in place where its value is stored as it is. */
static const float *values(const struct task *t, int n, int images, float *scratch)
{
	int node = t->x->in[0];

	if (value_is_raw(t->in, t->x->gate, F32))
		return value_at(t, node, n, 0);
	value_read(t, node, t->x->gate, n, images, 0, t->in->h, scratch, F32, t->in->w);
	return scratch;
}

/* In place; through scratch where it is stored past the caches, since a kernel's stores would fetch it first. */
static void whole_forward(struct task *t)
{
	const struct node *x = t->x;
	struct arrays p = lay(x, t->in, false, t->scratch);
	int pixels = x->h * x->w, images = x->whole.images;
	bool past = value_past(t, t->id);

	order(t, CONV_OUTPUT, images, t->params + x->weight, p.filters);
	for (struct chunk c = chunk_over(t, x->h, x->w, images * pixels); chunk_next(&c);) {
		float *out = past ? p.out : value_at(t, t->id, c.n, 0);

		for (int i = 0, n; i < c.images; i += n) {
			n = next_call(images, c.images - i);
			convolve(t, CONV_OUTPUT, n, values(t, c.n + i, n, p.in), p.filters, out + i * size_of(x));
		}
		value_put(t, c.n, 0, past ? out : NULL, (int64_t)c.images * pixels);
	}
}

/* --- backward --- */

static const float *gradients(const struct task *t, const struct chunk *c, float *scratch)
{
	if (gradient_is_stored(t->x, F32))
		return gradient_at(t, t->id, c->n, 0);
	gradient_read(t, c->n, c->images, 0, t->x->h, scratch, F32, t->x->w);
	return scratch;
}

static void weight_back(const struct task *t, const struct chunk *c, const float *in, float *filters, const float *dy)
{
	for (int i = 0, n; i < c->images; i += n) {
		n = next_call(t->x->whole.many, c->images - i);
		convolve(t, CONV_WEIGHT, n, in + i * size_of(t->in), filters, dy + i * size_of(t->x));
		order(t, CONV_WEIGHT, n, t->weight_grad, filters);
	}
}

/* Output positions (along one side) that a tap has inputs for. */
struct span {
	int from, to;
};

static struct span span_of(int tap, int pad, int stride, int in, int out)
{
	int from = tap < pad ? (pad - tap + stride - 1) / stride : 0, room = in - 1 + pad - tap;

	return (struct span){ from, room < 0 ? 0 : MIN(out, room / stride + 1) };
}

/* Packs the pixels under a tap: to, of each image rows ys and columns xs of the output's grid, stride pixels apart in from. */
static int gather_tap(float *to, const float *from, int images, int h, int w, int ld, struct span ys, struct span xs, int stride)
{
	int count = xs.to - xs.from, rows = 0;

	for (int i = 0; i < images; i++)
		for (int y = ys.from; y < ys.to; y++) {
			const float *row = from + ((int64_t)(i * h + y * stride) * w + xs.from * stride) * ld;

			if (stride == 1)
				memcpy(to + (int64_t)rows * ld, row, count * ld * sizeof(float));
			for (int u = 0; u < count && stride > 1; u++)
				memcpy(to + (int64_t)(rows + u) * ld, row + (int64_t)u * stride * ld, ld * sizeof(float));
			rows += count;
		}
	return rows;
}

/* The gradient of the weight tap by tap. The output's gradient stays where it is for a tap that lies inside for all outputs. */
static void taps_back(const struct task *t, const struct chunk *c, const float *in, float *room, const float *dy)
{
	const struct node *x = t->x, *from = t->in;
	float *a = room, *b = room + (int64_t)c->images * x->h * x->w * from->ld;

	for (int i = 0; i < x->k * x->k; i++) {
		int ky = i / x->k - x->pad, kx = i % x->k - x->pad;
		struct span ys = span_of(i / x->k, x->pad, x->stride, from->h, x->h);
		struct span xs = span_of(i % x->k, x->pad, x->stride, from->w, x->w);
		bool all = ys.to - ys.from == x->h && xs.to - xs.from == x->w;
		struct product q = { .element = F32, .result = F32, .trans_a = true, .add = true, .m = from->c, .n = x->c, .a = a,
				     .lda = from->ld, .b = all ? dy : b, .ldb = x->ld, .ldc = x->c };

		q.c = t->weight_grad + (int64_t)i * from->c * x->c;
		q.k = gather_tap(a, in + ((int64_t)ky * from->w + kx) * from->ld, c->images, from->h, from->w, from->ld, ys, xs,
				 x->stride);
		if (!all)
			gather_tap(b, dy, c->images, x->h, x->w, x->ld, ys, xs, 1);
		if (q.k > 0)
			task_multiply(t, &q);
	}
}

/* Kernels overwrite: straight into d where nothing is in it yet, and it need not be stored past the caches. */
static void input_back(const struct task *t, const struct chunk *c, const struct arrays *p, const float *dy)
{
	const struct node *x = t->x;
	bool there = x->first[0] && !value_past(t, x->in[0]);

	for (int i = 0, n; i < c->images; i += n) {
		n = next_call(x->whole.images, c->images - i);
		convolve(t, CONV_INPUT, n, there ? gradient_at(t, x->in[0], c->n + i, 0) : p->call, p->filters,
			 dy + i * size_of(x));
		gradient_give(t, 0, c->n + i, n, 0, t->in->h, there ? NULL : p->call);
	}
}

static void whole_backward(struct task *t)
{
	const struct node *x = t->x;
	struct arrays p = lay(x, t->in, true, t->scratch);
	bool inward = !is_view(t->in);

	if (inward)
		order(t, CONV_INPUT, x->whole.images,
		      x->whole.flips ? t->p->state[t->id].factor[FACTOR_BACKWARD] : t->params + x->weight, p.filters);
	for (struct chunk c = chunk_over(t, x->h, x->w, x->whole.many * x->h * x->w); chunk_next(&c);) {
		const float *dy = gradients(t, &c, p.out), *in = values(t, c.n, c.images, p.in);

		gradient_bias(t, dy, F32, (int64_t)c.images * x->h * x->w);
		if (x->whole.filters[CONV_WEIGHT])
			weight_back(t, &c, in, p.call, dy);
		else
			taps_back(t, &c, in, p.call, dy);
		if (inward)
			input_back(t, &c, &p, dy);
	}
}

const struct conv_method conv_whole = {
	{ "whole", "the backend's kernels over whole images", NULL },
	whole_choose, whole_scratch, factor_bytes, factor_make, whole_forward, whole_backward
};
