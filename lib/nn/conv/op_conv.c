/*
 * op_conv.c - dense convolution and linear layers: patches times weights
 *
 * The value of a chunk's input pixels is computed into scratch; 1x1 convolutions multiply it as it is, others through a scratch
 * of patches (im2col) for a few rows of taps at a time, so that all stays in L2. Weights are (kh, kw, in, out). The gradient of
 * the input is, at stride 1, a convolution of the output's gradient with the weights turned round (weights.c); else the gradient
 * of the patches is scattered onto the input pixels. Where there are better ways without patches, conv_tiles.c (AMX) and conv_whole.c
 * (the backend's own convolutions) take both passes.
 */
#include "lib/nn/conv/conv_tiles.h"

#define RUN 64   /* bytes copied at once */

/* How one array is cut into patches: that of the inputs, or backward that of the output's gradients. */
struct cut {
	int k, stride, pad;
	int c, ld, h, w;         /* of the array */
	int outputs;             /* patches of a row */
	enum dtype element;
	int group;               /* rows of taps multiplied at once */
	int pitch;               /* of the patches */
};

/* Sizes that one convolution's loops share; scratch in bytes. */
struct plan {
	int target;              /* output pixels of a chunk */
	bool plain;              /* input pixels are patches */
	bool turned;             /* the input's gradient is a convolution */
	struct cut in, back;
	int in_width, back_width;   /* of the tiles */
	int64_t in_rows, back_rows; /* most rows of a tile */
	size_t in_tile, back_tile, patches, zeros, out, dy, part;
};

static struct cut cut_of(const struct node *x, const struct node *from, int outputs, int target)
{
	struct cut c = { x->k, x->stride, x->pad, from->c, from->ld, from->h, from->w, outputs, x->factor, 0, 0 };

	c.group = MAX(1, MIN(x->k, (int)(CHUNK_BYTES / (element_size(c.element) * target * c.c * x->k))));
	c.pitch = (c.group * x->k * c.c + LANES - 1) / LANES * LANES;
	return c;
}

/* The gradient of the output is convolved with stride 1 and the padding that gives the input's size. */
static void plan_back(struct plan *p, const struct node *x, int band)
{
	p->back = cut_of(x, x, x->w, p->target);
	p->back.stride = 1;
	p->back.pad = x->k - 1 - x->pad;
	p->back_width = x->w + x->k - 1;
	p->back_rows = MAX(MAX(1, p->target / (x->h * x->w)) * x->h, band + x->k - 1);
	p->back_tile = padded(p->back_rows * p->back_width * x->ld * element_size(x->factor) + RUN);
}

static struct plan plan_conv(const struct node *x, const struct node *in, bool grad)
{
	struct plan p = { .plain = x->k == 1 && x->stride == 1 && x->pad == 0, .turned = grad && convolves_back(x, in) };
	int64_t image = (int64_t)x->h * x->w;
	size_t size = element_size(x->factor);
	int bands, band, pitch;

	p.target = MAX(64, MIN(1024, CHUNK_BYTES / (int)size / (in->ld + x->ld)));
	bands = (int)((image + p.target - 1) / p.target);
	band = (x->h + bands - 1) / bands;
	p.in_rows = MAX(MAX(1, p.target / image) * in->h, (band - 1) * x->stride + x->k);
	p.target = MAX(p.target, band * x->w);
	p.in_width = p.plain ? in->w : tile_width(x, in);
	p.in = cut_of(x, in, x->w, p.target);
	p.in_tile = padded(p.in_rows * p.in_width * in->ld * size + RUN);   /* copy_run() goes beyond */
	if (p.turned)
		plan_back(&p, x, band);
	pitch = MAX(p.in.pitch, p.back.pitch);
	p.patches = p.plain ? 0 : padded((size_t)p.target * pitch * (grad && !p.turned ? sizeof(float) : size) + RUN);
	p.zeros = padded((size_t)x->k * MAX(in->ld, x->ld) * size + RUN);
	p.out = padded((size_t)p.target * x->ld * sizeof(float));
	p.dy = padded((size_t)p.target * x->ld * size);
	p.part = p.plain || p.turned ? padded((size_t)p.target * in->ld * sizeof(float))
				     : padded((size_t)MAX(1, p.target / image) * in->h * in->w * in->ld * sizeof(float));
	return p;
}

static size_t conv_scratch(const struct node *x, const struct node *in, bool grad)
{
	struct plan p = plan_conv(x, in, grad);
	size_t forward = p.out, backward = grad ? p.dy + p.back_tile + p.part : 0;

	if (x->tiled)
		return conv_tiles_scratch(x, in, grad);
	if (x->whole.images)
		return whole_scratch(x, in, grad);
	return p.in_tile + p.patches + p.zeros + MAX(forward, backward);
}

/* --- patches --- */

/* Copies up to RUN - 1 bytes too many, which the next run overwrites. */
static inline void copy_run(char *to, const char *from, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += RUN)
		memcpy(to + i, from + i, RUN);
}

/* A row of taps of one patch: contiguous in the tile unless the channels are padded. */
static inline void copy_taps(char *to, const char *from, int k, size_t pixel, size_t ld)
{
	if (pixel == ld) {
		copy_run(to, from, k * pixel);
		return;
	}
	for (int i = 0; i < k; i++)
		copy_run(to + i * pixel, from + i * ld, pixel);
}

/* Rows of taps ky .. ky+n-1 of the patches of output row y. */
static char *gather_row(const struct tile *tile, const struct cut *c, int image, int y, int ky, int n, const char *zeros,
			char *patches)
{
	const char *row[KERNEL_MAX];
	size_t size = element_size(c->element), pixel = c->c * size, ld = c->ld * size, pitch = c->pitch * size;

	for (int i = 0; i < n; i++) {
		int at = y * c->stride - c->pad + ky + i;

		row[i] = at < 0 || at >= c->h ? NULL : tile_at(tile, image, at, -c->pad);
	}
	for (int o = 0; o < c->outputs; o++, patches += pitch)
		for (int i = 0; i < n; i++)
			copy_taps(patches + i * c->k * pixel, row[i] ? row[i] + o * c->stride * ld : zeros, c->k, pixel, ld);
	return patches;
}

static void gather(const struct tile *tile, const struct cut *cut, const struct chunk *c, int ky, int n, const char *zeros,
		   char *patches)
{
	for (int i = 0; i < c->images; i++)
		for (int y = c->y0; y < c->y1; y++)
			patches = gather_row(tile, cut, i, y, ky, n, zeros, patches);
}

/* Adds the gradient of a patch's row of taps to the input's, as far as it lies inside. */
static void scatter_taps(const struct task *t, float *row, int at, const float *from)
{
	const struct node *x = t->x, *in = t->in;
	int first = MAX(0, -at), last = MIN(x->k, in->w - at);

	if (in->c == in->ld) {
		if (last > first)
			t->net->kernels[F32]->add(row + (int64_t)(at + first) * in->ld, from + first * in->c,
						  (int64_t)(last - first) * in->c);
		return;
	}
	for (int i = first; i < last; i++)
		t->net->kernels[F32]->add(row + (int64_t)(at + i) * in->ld, from + i * in->c, in->c);
}

/* images: whole ones, of the chunk. */
static void scatter(const struct task *t, const struct chunk *c, const struct cut *cut, int ky, int n, const float *patches,
		    float *images)
{
	const struct node *x = t->x, *in = t->in;

	for (int i = 0; i < c->images; i++)
		for (int y = c->y0; y < c->y1; y++)
			for (int o = 0; o < x->w; o++, patches += cut->pitch)
				for (int k = 0; k < n; k++) {
					int at = y * x->stride - x->pad + ky + k;

					if (at >= 0 && at < in->h)
						scatter_taps(t, images + ((int64_t)i * in->h + at) * in->w * in->ld,
							     o * x->stride - x->pad, patches + k * x->k * in->c);
				}
}

/* --- scratch --- */

/* A chunk's left factor: the input's value, in scratch or in place where it is stored as it is. */
struct room {
	struct tile in, back;
	const void *plain;
	char *patches, *zeros, *dy;
	float *out, *part;       /* out: forward, where dy is backward */
};

static struct room open_room(const struct task *t, const struct plan *p)
{
	char *at = t->scratch;
	enum dtype e = t->x->factor;
	struct room r = { .in = { at, e, 0, 0, 0, t->x->pad, p->in_width, t->in->ld } };

	r.patches = at += p->in_tile;
	r.zeros = at += p->patches;
	r.dy = at += p->zeros;
	r.out = (float *)r.dy;
	r.back = (struct tile){ at += p->dy, e, 0, 0, 0, p->back.pad, p->back_width, t->x->ld };
	r.part = (float *)(at + p->back_tile);
	if (!p->plain)
		tile_clear(&r.in, p->in_rows, t->in->w);
	memset(r.zeros, 0, p->zeros);
	return r;
}

static void load_input(const struct task *t, const struct chunk *c, const struct plan *p, struct room *r)
{
	int node = t->x->in[0];
	enum dtype e = t->x->factor;

	r->plain = t->scratch;
	if (!p->plain)
		r->in = tile_values(t, c, t->scratch, e);
	else if (value_is_raw(t->in, t->x->gate, e))
		r->plain = raw_at(t, node, c->n, c->y0);
	else
		read_value(t, node, t->x->gate, c->n, c->images, c->y0, c->y1, t->scratch, e, t->in->w);
}

/* The left factor for rows of taps ky .. ky+n-1; *pitch between its rows. */
static const void *left_factor(const struct task *t, const struct chunk *c, const struct plan *p, const struct room *r, int ky,
			       int n, int *pitch)
{
	*pitch = p->plain ? t->in->ld : p->in.pitch;
	if (p->plain)
		return r->plain;
	gather(&r->in, &p->in, c, ky, n, r->zeros, r->patches);
	return r->patches;
}

static const void *weight_of(const struct task *t)
{
	const void *w = t->p->state[t->id].weight;

	return w ? w : t->params + t->x->weight;
}

/* --- forward --- */

static void patches_forward(struct task *t)
{
	const struct node *x = t->x;
	struct plan p = plan_conv(x, t->in, false);
	struct room r = open_room(t, &p);
	int row = x->k * t->in->c;

	for (struct chunk c = chunks(t, x->h, x->w, p.target); chunk_next(&c);) {
		int m = c.images * (c.y1 - c.y0) * x->w;
		bool there = (x->store == F32 && !stored_past(t, t->id)) || (x->factor == BF16 && p.in.group >= x->k);
		void *out = there ? raw_at(t, t->id, c.n, c.y0) : r.out;

		load_input(t, &c, &p, &r);
		for (int ky = 0, n; ky < x->k; ky += n) {
			struct product q = { .element = x->factor, .result = there ? x->store : F32, .m = m, .n = x->c, .add = ky > 0,
					     .ldb = x->c, .c = out, .ldc = x->ld };

			n = MIN(p.in.group, x->k - ky);
			q.k = n * row;
			q.a = left_factor(t, &c, &p, &r, ky, n, &q.lda);
			q.b = element_at(weight_of(t), x->factor, (int64_t)ky * row * x->c);
			multiply(t, &q);
		}
		put(t, c.n, c.y0, there ? NULL : out, m);
	}
}

/* --- backward --- */

static void weight_gradient(const struct task *t, const struct chunk *c, const struct plan *p, const struct room *r, const void *dy,
			    int m)
{
	const struct node *x = t->x;
	int row = x->k * t->in->c;

	for (int ky = 0, n; ky < x->k; ky += n) {
		struct product q = { .element = x->factor, .trans_a = true, .add = true, .n = x->c, .k = m, .b = dy, .ldb = x->ld, .ldc = x->c };

		n = MIN(p->in.group, x->k - ky);
		q.m = n * row;
		q.a = left_factor(t, c, p, r, ky, n, &q.lda);
		q.c = t->weight_grad + (int64_t)ky * row * x->c;
		multiply(t, &q);
	}
}

/* A product whose result is the gradient of a chunk's inputs: where that is stored, if the products can store it, else in scratch. */
static struct product part_of(const struct task *t, const struct chunk *c, const struct room *r, bool there, int m)
{
	const struct node *x = t->x, *in = t->in;

	return (struct product){ .element = x->factor, .result = there ? in->store : F32, .m = m, .n = in->c,
				 .add = there && !x->first[0], .c = there ? d_at(t, x->in[0], c->n, c->y0) : r->part, .ldc = in->ld };
}

static void give_part(const struct task *t, const struct chunk *c, const struct room *r, bool there)
{
	give(t, 0, c->n, c->images, c->y0, c->y1, there ? NULL : r->part);
}

/* 1x1: dy times the weight's transpose. */
static void plain_back(const struct task *t, const struct chunk *c, const struct room *r, const void *dy, int m)
{
	const struct node *x = t->x;
	bool there = t->in->store == F32 || x->factor == BF16;
	struct product q = part_of(t, c, r, there, m);

	q.trans_b = true;
	q.k = q.ldb = x->c;
	q.a = dy;
	q.lda = x->ld;
	q.b = weight_of(t);
	multiply(t, &q);
	give_part(t, c, r, there);
}

/* Stride 1: patches of dy times the turned weights. */
static void turned_back(const struct task *t, const struct chunk *c, const struct plan *p, const struct room *r, int m)
{
	const struct node *x = t->x, *in = t->in;
	int row = x->k * x->c;
	bool there = in->store == F32 || (x->factor == BF16 && p->back.group >= x->k);
	struct product q = part_of(t, c, r, there, m);

	q.a = r->patches;
	q.lda = p->back.pitch;
	q.ldb = in->c;
	for (int ky = 0, n; ky < x->k; ky += n) {
		n = MIN(p->back.group, x->k - ky);
		gather(&r->back, &p->back, c, ky, n, r->zeros, r->patches);
		q.k = n * row;
		q.b = element_at(t->p->state[t->id].turned, x->factor, (int64_t)ky * row * in->c);
		multiply(t, &q);
		q.add = true;
	}
	give_part(t, c, r, there);
}

static void scattered_back(const struct task *t, const struct chunk *c, const struct plan *p, const struct room *r, const void *dy,
			   int m)
{
	const struct node *x = t->x, *in = t->in;
	int row = x->k * in->c;
	float *patches = (float *)r->patches;

	if (c->y0 == 0)
		memset(r->part, 0, (size_t)c->images * in->h * in->w * in->ld * sizeof(float));
	for (int ky = 0, n; ky < x->k; ky += n) {
		n = MIN(p->in.group, x->k - ky);
		multiply(t, &(struct product){ .element = x->factor, .trans_b = true, .m = m, .n = n * row, .k = x->c, .a = dy, .lda = x->ld,
				.b = element_at(weight_of(t), x->factor, (int64_t)ky * row * x->c), .ldb = x->c, .c = patches,
				.ldc = p->in.pitch });
		scatter(t, c, &p->in, ky, n, patches, r->part);
	}
	if (c->y1 == x->h)
		give(t, 0, c->n, c->images, 0, in->h, r->part);
}

/* The output's gradient under a chunk's inputs, as a tile, and the chunk's own pixels packed. */
static void load_back(const struct task *t, const struct chunk *c, const struct plan *p, struct room *r)
{
	const struct node *x = t->x;
	size_t row = (size_t)x->w * x->ld * element_size(x->factor);
	int reach = x->k - 1 - x->pad, ya = MAX(0, c->y0 - reach), yb = MIN(x->h, c->y1 - reach + x->k - 1);
	char *to = r->dy;

	r->back.images = c->images;
	r->back.top = ya;
	r->back.rows = yb - ya;
	read_gradient(t, c->n, c->images, ya, yb, tile_at(&r->back, 0, ya, 0), x->factor, p->back_width);
	for (int i = 0; i < c->images; i++)
		for (int y = c->y0; y < c->y1; y++, to += row)
			memcpy(to, tile_at(&r->back, i, y, 0), row);
}

static void patches_backward(struct task *t)
{
	const struct node *x = t->x;
	struct plan p = plan_conv(x, t->in, true);
	struct room r = open_room(t, &p);

	if (p.turned)
		tile_clear(&r.back, p.back_rows, x->w);
	for (struct chunk c = chunks(t, x->h, x->w, p.target); chunk_next(&c);) {
		int m = c.images * (c.y1 - c.y0) * x->w;
		const void *dy = r.dy;

		if (p.turned)
			load_back(t, &c, &p, &r);
		else if (gradient_is_stored(x, x->factor))
			dy = d_at(t, t->id, c.n, c.y0);
		else
			read_gradient(t, c.n, c.images, c.y0, c.y1, r.dy, x->factor, x->w);
		add_bias(t, dy, x->factor, m);
		load_input(t, &c, &p, &r);
		weight_gradient(t, &c, &p, &r, dy, m);
		if (t->in->op == OP_VIEW)
			continue;
		if (p.plain)
			plain_back(t, &c, &r, dy, m);
		else if (p.turned)
			turned_back(t, &c, &p, &r, m);
		else
			scattered_back(t, &c, &p, &r, dy, m);
	}
}

/* --- by patches, or without them by AMX or by the backend's own kernels --- */

static void conv_forward(struct task *t)
{
	if (t->x->tiled)
		conv_tiles_forward(t);
	else if (t->x->whole.images)
		whole_forward(t);
	else
		patches_forward(t);
}

static void conv_backward(struct task *t)
{
	if (t->x->tiled)
		conv_tiles_backward(t);
	else if (t->x->whole.images)
		whole_backward(t);
	else
		patches_backward(t);
}

static struct cost conv_cost(const struct node *x, const struct node *in)
{
	(void)in;
	return cost_filters(x, x->factor);
}

const struct op op_conv = {
	{ "conv", "dense convolution, linear layer", NULL }, conv_forward, conv_backward, conv_scratch, conv_cost
};
