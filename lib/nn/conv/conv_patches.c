/*
 * conv_patches.c - convolutions as patches times weights
 *
 * The value of a chunk's input pixels is computed into scratch; 1x1 convolutions multiply it as it is, others through a scratch
 * of patches (im2col) for a few rows of taps at a time, so that all stays in L2. The gradient of the input is, at stride 1, a
 * convolution of the output's gradient with flipped weights; else the gradient of the patches is scattered onto the input pixels.
 */
#include "lib/nn/conv/conv_gather.h"

/* Sizes that one convolution's loops share; scratch in bytes. */
struct layout {
	int target;              /* output pixels of a chunk */
	bool plain;              /* input pixels are patches */
	bool flips;              /* the input's gradient is a convolution */
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
static void lay_back(struct layout *p, const struct node *x, int band)
{
	p->back = cut_of(x, x, x->w, p->target);
	p->back.stride = 1;
	p->back.pad = x->k - 1 - x->pad;
	p->back_width = x->w + x->k - 1;
	p->back_rows = MAX(MAX(1, p->target / (x->h * x->w)) * x->h, band + x->k - 1);
	p->back_tile = padded(p->back_rows * p->back_width * x->ld * element_size(x->factor) + RUN);
}

static struct layout layout_of(const struct node *x, const struct node *in, bool grad)
{
	struct layout p = { .plain = x->k == 1 && x->stride == 1 && x->pad == 0, .flips = grad && conv_flips(x, in) };
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
	if (p.flips)
		lay_back(&p, x, band);
	pitch = MAX(p.in.pitch, p.back.pitch);
	p.patches = p.plain ? 0 : padded((size_t)p.target * pitch * (grad && !p.flips ? sizeof(float) : size) + RUN);
	p.zeros = padded((size_t)x->k * MAX(in->ld, x->ld) * size + RUN);
	p.out = padded((size_t)p.target * x->ld * sizeof(float));
	p.dy = padded((size_t)p.target * x->ld * size);
	p.part = p.plain || p.flips ? padded((size_t)p.target * in->ld * sizeof(float))
				     : padded((size_t)MAX(1, p.target / image) * in->h * in->w * in->ld * sizeof(float));
	return p;
}

static size_t patches_scratch(const struct node *x, const struct node *in, bool grad)
{
	struct layout p = layout_of(x, in, grad);
	size_t forward = p.out, backward = grad ? p.dy + p.back_tile + p.part : 0;

	return p.in_tile + p.patches + p.zeros + MAX(forward, backward);
}

/* --- factors: the weights in bf16 where products want that, and flipped where backward convolves --- */

static size_t factor_bytes(const struct node *x, const struct node *in, enum factor which)
{
	bool made = which == FACTOR_BACKWARD ? conv_flips(x, in) : x->factor == BF16;

	return made ? x->weights * element_size(x->factor) : 0;
}

#define SLICE 16384

static void factor_make(const struct task *t, const struct node *x, const struct node *in, enum factor which, void *to)
{
	const float *from = t->params + x->weight;

	if (which == FACTOR_BACKWARD)
		conv_flip(t, x, in, to);
	else
		for (int64_t i = (int64_t)SLICE * t->thread; i < x->weights; i += (int64_t)SLICE * t->p->threads)
			t->plan->kernels[BF16]->narrow(element_at(to, BF16, i), from + i, MIN(SLICE, x->weights - i));
}

/* --- scratch --- */

/* A chunk's left factor: the input's value, in scratch or in place where it is stored as it is. */
struct room {
	struct tile in, back;
	const void *plain;
	char *patches, *zeros, *dy;
	float *out, *part;       /* out: forward, where dy is backward */
};

static struct room open_room(const struct task *t, const struct layout *p)
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

static void load_input(const struct task *t, const struct chunk *c, const struct layout *p, struct room *r)
{
	int node = t->x->in[0];
	enum dtype e = t->x->factor;

	r->plain = t->scratch;
	if (!p->plain)
		r->in = tile_values(t, c, t->scratch, e);
	else if (value_is_raw(t->in, t->x->gate, e))
		r->plain = value_at(t, node, c->n, c->y0);
	else
		value_read(t, node, t->x->gate, c->n, c->images, c->y0, c->y1, t->scratch, e, t->in->w);
}

/* The left factor for rows of taps ky .. ky+n-1; *pitch between its rows. */
static const void *left_factor(const struct task *t, const struct chunk *c, const struct layout *p, const struct room *r, int ky,
			       int n, int *pitch)
{
	*pitch = p->plain ? t->in->ld : p->in.pitch;
	if (p->plain)
		return r->plain;
	conv_gather(&r->in, &p->in, c, ky, n, r->zeros, r->patches);
	return r->patches;
}

static const void *weight_of(const struct task *t)
{
	const void *w = t->p->state[t->id].factor[FACTOR_FORWARD];

	return w ? w : t->params + t->x->weight;
}

/* --- forward --- */

static void patches_forward(struct task *t)
{
	const struct node *x = t->x;
	struct layout p = layout_of(x, t->in, false);
	struct room r = open_room(t, &p);
	int row = x->k * t->in->c;

	for (struct chunk c = chunk_over(t, x->h, x->w, p.target); chunk_next(&c);) {
		int m = c.images * (c.y1 - c.y0) * x->w;
		bool there = (x->store == F32 && !value_past(t, t->id)) || (x->factor == BF16 && p.in.group >= x->k);
		void *out = there ? value_at(t, t->id, c.n, c.y0) : r.out;

		load_input(t, &c, &p, &r);
		for (int ky = 0, n; ky < x->k; ky += n) {
			struct product q = { .element = x->factor, .result = there ? x->store : F32, .m = m, .n = x->c,
					     .add = ky > 0, .ldb = x->c, .c = out, .ldc = x->ld };

			n = MIN(p.in.group, x->k - ky);
			q.k = n * row;
			q.a = left_factor(t, &c, &p, &r, ky, n, &q.lda);
			q.b = element_at(weight_of(t), x->factor, (int64_t)ky * row * x->c);
			task_multiply(t, &q);
		}
		value_put(t, c.n, c.y0, there ? NULL : out, m);
	}
}

/* --- backward --- */

static void weight_gradient(const struct task *t, const struct chunk *c, const struct layout *p, const struct room *r,
			    const void *dy, int m)
{
	const struct node *x = t->x;
	int row = x->k * t->in->c;

	for (int ky = 0, n; ky < x->k; ky += n) {
		struct product q = { .element = x->factor, .trans_a = true, .add = true, .n = x->c, .k = m, .b = dy,
				     .ldb = x->ld, .ldc = x->c };

		n = MIN(p->in.group, x->k - ky);
		q.m = n * row;
		q.a = left_factor(t, c, p, r, ky, n, &q.lda);
		q.c = t->weight_grad + (int64_t)ky * row * x->c;
		task_multiply(t, &q);
	}
}

/* A product whose result is the gradient of a chunk's inputs: where that is stored, if the products can store it, else in
 * scratch. */
static struct product part_of(const struct task *t, const struct chunk *c, const struct room *r, bool there, int m)
{
	const struct node *x = t->x, *in = t->in;

	return (struct product){ .element = x->factor, .result = there ? in->store : F32, .m = m, .n = in->c,
				 .add = there && !x->first[0], .c = there ? gradient_at(t, x->in[0], c->n, c->y0) : r->part,
				 .ldc = in->ld };
}

static void give_part(const struct task *t, const struct chunk *c, const struct room *r, bool there)
{
	gradient_give(t, 0, c->n, c->images, c->y0, c->y1, there ? NULL : r->part);
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
	task_multiply(t, &q);
	give_part(t, c, r, there);
}

/* Stride 1: patches of dy times the flipped weights. */
static void flipped_back(const struct task *t, const struct chunk *c, const struct layout *p, const struct room *r, int m)
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
		conv_gather(&r->back, &p->back, c, ky, n, r->zeros, r->patches);
		q.k = n * row;
		q.b = element_at(t->p->state[t->id].factor[FACTOR_BACKWARD], x->factor, (int64_t)ky * row * in->c);
		task_multiply(t, &q);
		q.add = true;
	}
	give_part(t, c, r, there);
}

static void scattered_back(const struct task *t, const struct chunk *c, const struct layout *p, const struct room *r,
			   const void *dy, int m)
{
	const struct node *x = t->x, *in = t->in;
	int row = x->k * in->c;
	float *patches = (float *)r->patches;

	if (c->y0 == 0)
		memset(r->part, 0, (size_t)c->images * in->h * in->w * in->ld * sizeof(float));
	for (int ky = 0, n; ky < x->k; ky += n) {
		n = MIN(p->in.group, x->k - ky);
		task_multiply(t, &(struct product){ .element = x->factor, .trans_b = true, .m = m, .n = n * row, .k = x->c,
				.a = dy, .lda = x->ld,
				.b = element_at(weight_of(t), x->factor, (int64_t)ky * row * x->c), .ldb = x->c, .c = patches,
				.ldc = p->in.pitch });
		conv_scatter(t, c, &p->in, ky, n, patches, r->part);
	}
	if (c->y1 == x->h)
		gradient_give(t, 0, c->n, c->images, 0, in->h, r->part);
}

/* The output's gradient under a chunk's inputs, as a tile, and the chunk's own pixels packed. */
static void load_back(const struct task *t, const struct chunk *c, const struct layout *p, struct room *r)
{
	const struct node *x = t->x;
	size_t row = (size_t)x->w * x->ld * element_size(x->factor);
	int reach = x->k - 1 - x->pad, ya = MAX(0, c->y0 - reach), yb = MIN(x->h, c->y1 - reach + x->k - 1);
	char *to = r->dy;

	r->back.images = c->images;
	r->back.top = ya;
	r->back.rows = yb - ya;
	gradient_read(t, c->n, c->images, ya, yb, tile_at(&r->back, 0, ya, 0), x->factor, p->back_width);
	for (int i = 0; i < c->images; i++)
		for (int y = c->y0; y < c->y1; y++, to += row)
			memcpy(to, tile_at(&r->back, i, y, 0), row);
}

static void patches_backward(struct task *t)
{
	const struct node *x = t->x;
	struct layout p = layout_of(x, t->in, true);
	struct room r = open_room(t, &p);

	if (p.flips)
		tile_clear(&r.back, p.back_rows, x->w);
	for (struct chunk c = chunk_over(t, x->h, x->w, p.target); chunk_next(&c);) {
		int m = c.images * (c.y1 - c.y0) * x->w;
		const void *dy = r.dy;

		if (p.flips)
			load_back(t, &c, &p, &r);
		else if (gradient_is_stored(x, x->factor))
			dy = gradient_at(t, t->id, c.n, c.y0);
		else
			gradient_read(t, c.n, c.images, c.y0, c.y1, r.dy, x->factor, x->w);
		gradient_bias(t, dy, x->factor, m);
		load_input(t, &c, &p, &r);
		weight_gradient(t, &c, &p, &r, dy, m);
		if (is_view(t->in))
			continue;
		if (p.plain)
			plain_back(t, &c, &r, dy, m);
		else if (p.flips)
			flipped_back(t, &c, &p, &r, m);
		else
			scattered_back(t, &c, &p, &r, dy, m);
	}
}

/* --- the method --- */

static bool patches_choose(const struct plan *plan, void *room, struct node *x, const struct node *in)
{
	(void)plan, (void)room, (void)x, (void)in;
	return true;
}

const struct conv_method conv_patches = {
	{ "patches", "patches times weights", NULL },
	patches_choose, patches_scratch, factor_bytes, factor_make, patches_forward, patches_backward
};
