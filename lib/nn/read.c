/* read.c - values and gradients of nodes, computed while they are read (engine.h has the formulas) */
#include "lib/nn/engine.h"

/* --- chunks --- */

int split_start(const struct pass *p, int split)
{
	return (int)((int64_t)split * p->rows / p->net->config.bn_splits);
}

int split_of(const struct pass *p, int image)
{
	int s = (int)((int64_t)image * p->net->config.bn_splits / p->rows);

	while (split_start(p, s + 1) <= image)
		s++;
	return s;
}

struct chunk chunks(const struct task *t, int h, int w, int target)
{
	int64_t image = (int64_t)h * w;
	int bands = (int)((image + target - 1) / target);

	return (struct chunk){
		.n = t->n0, .end = t->n1, .h = h, .rows = (h + bands - 1) / bands, .group = MAX(1, target / image), .p = t->p
	};
}

bool chunk_next(struct chunk *c)
{
	c->y0 = c->y1;
	if (c->y0 == c->h) {
		c->n += c->images;
		c->y0 = 0;
	}
	if (c->n >= c->end)
		return false;
	c->split = split_of(c->p, c->n);
	c->images = MIN(c->group, MIN(c->end, split_start(c->p, c->split + 1)) - c->n);
	c->y1 = MIN(c->h, c->y0 + c->rows);
	return true;
}

/* --- addresses --- */

/* Where row y of image n lies in an array of the thread's arena. */
static int64_t place(const struct task *t, int node, int n, int y)
{
	const struct node *x = &t->net->nodes[node];

	return t->thread * t->p->arena_size + ((int64_t)(n - t->n0) * x->h + y) * x->w * x->ld;
}

float *raw_at(const struct task *t, int node, int n, int y)
{
	return t->p->state[node].raw + place(t, node, n, y);
}

float *d_at(const struct task *t, int node, int n, int y)
{
	return t->p->state[node].d + place(t, node, n, y);
}

float *own(const struct task *t, float *vector)
{
	return vector + t->thread * t->p->channels;
}

double *sums_at(const struct pass *p, double *sums, int slot, int split)
{
	return sums + ((size_t)slot * p->net->config.bn_splits + split) * 2 * p->ldmax;
}

struct affine affine_of(const struct task *t, int node, int split)
{
	const struct node *x = &t->net->nodes[node];
	const struct state *s = &t->p->state[node];
	int64_t o = (int64_t)split * x->ld;

	if (!s->scale)
		return (struct affine){ 0 };
	return (struct affine){ own(t, s->scale) + o, own(t, s->shift) + o, s->xscale ? own(t, s->xscale) + o : NULL,
		s->xshift ? own(t, s->xshift) + o : NULL };
}

/* --- forward --- */

bool value_is_raw(const struct node *x, int gate)
{
	return x->op != OP_VIEW && x->gamma < 0 && x->bias < 0 && x->act == ACT_NONE && gate < 0;
}

static void read_views(const struct task *t, int n, int images, int y0, int y1, float *dst, int pitch)
{
	const struct net_config *c = &t->net->config;
	bool dense = pitch == c->width;
	int64_t pixels = (int64_t)c->width * (dense ? y1 - y0 : 1);
	float scale[3], shift[3];

	for (int i = 0; i < 3; i++) {
		scale[i] = 1 / (255 * c->std[i]);
		shift[i] = -c->mean[i] / c->std[i];
	}
	for (int i = n; i < n + images; i++) {
		int64_t view = t->p->order ? t->p->order[i] : i;

		for (int y = y0; y < y1; y += dense ? y1 - y0 : 1, dst += 3 * pitch * (pixels / c->width))
			t->net->kernels->read_view(dst, t->p->views + (view * c->height + y) * c->width * 3, pixels, scale,
						   shift);
	}
}

/* Value of one row (an image's vector) of a node of 1x1. */
static void read_vector(const struct task *t, int node, int n, float *dst)
{
	const struct node *x = &t->net->nodes[node];
	struct affine f = affine_of(t, node, 0);

	t->net->kernels->read(dst, raw_at(t, node, n, 0), 1, x->ld, &f, NULL, x->act, false);
}

/* How far one call of a kernel goes: all images, or an image's rows, or a row. */
struct stretch {
	int images, rows;
};

static struct stretch stretch_of(const struct node *x, int images, int y0, int y1, int pitch, bool by_image)
{
	bool dense = pitch == x->w;

	return (struct stretch){ dense && !by_image && y1 - y0 == x->h ? images : 1, dense ? y1 - y0 : 1 };
}

static void read_layernorm(const struct task *t, int node, int n, int images, int y0, int y1, float *dst, int pitch)
{
	const struct node *x = &t->net->nodes[node];

	read_value(t, x->in[0], -1, n, images, y0, y1, dst, pitch);
	for (int64_t row = 0; row < (int64_t)images * (y1 - y0); row++)
		t->net->kernels->layernorm(dst + row * pitch * x->ld, dst + row * pitch * x->ld, x->w, x->c, x->ld,
					   t->params + x->weight, t->params + x->bias, (float)t->net->bn_eps);
}

void read_value(const struct task *t, int node, int gate, int n, int images, int y0, int y1, float *dst, int pitch)
{
	const struct node *x = &t->net->nodes[node];
	struct stretch s = stretch_of(x, images, y0, y1, pitch, gate >= 0);
	struct affine f;

	if (x->op == OP_VIEW) {
		read_views(t, n, images, y0, y1, dst, pitch);
		return;
	}
	if (x->op == OP_LAYERNORM) {
		read_layernorm(t, node, n, images, y0, y1, dst, pitch);
		return;
	}
	f = affine_of(t, node, split_of(t->p, n));
	for (int i = n; i < n + images; i += s.images) {
		if (gate >= 0)
			read_vector(t, gate, i, t->vectors);
		for (int y = y0; y < y1; y += s.rows, dst += (int64_t)s.images * s.rows * pitch * x->ld)
			t->net->kernels->read(dst, raw_at(t, node, i, y), (int64_t)s.images * s.rows * x->w, x->ld, &f,
					      gate >= 0 ? t->vectors : NULL, x->act, false);
	}
}

void write_raw(const struct task *t, int n, int images, const float *from)
{
	memcpy(raw_at(t, t->id, n, 0), from, (size_t)images * t->x->h * t->x->w * t->x->ld * sizeof(float));
}

/* --- tiles --- */

float *tile_at(const struct tile *t, int image, int y, int x)
{
	return t->base + (((int64_t)image * t->rows + y - t->top) * t->w + x + t->left) * t->ld;
}

void tile_clear(float *base, int64_t rows, int left, int w, int width, int ld)
{
	for (int64_t y = 0; y < rows; y++, base += (int64_t)width * ld) {
		memset(base, 0, (size_t)left * ld * sizeof(float));
		memset(base + (int64_t)(left + w) * ld, 0, (size_t)(width - left - w) * ld * sizeof(float));
	}
}

int tile_width(const struct node *x, const struct node *in)
{
	return MAX(in->w + x->pad, (x->w - 1) * x->stride + x->k - x->pad) + x->pad;
}

struct tile tile_values(const struct task *t, const struct chunk *c, float *base)
{
	const struct node *x = t->x, *in = t->in;
	bool whole = c->y1 - c->y0 == x->h;
	int ya = whole ? 0 : MAX(0, c->y0 * x->stride - x->pad);
	int yb = whole ? in->h : MIN(in->h, (c->y1 - 1) * x->stride - x->pad + x->k);
	struct tile tile = { base, c->images, yb - ya, ya, x->pad, tile_width(x, in), in->ld };

	read_value(t, x->in[0], x->gate, c->n, c->images, ya, yb, tile_at(&tile, 0, ya, 0), tile.w);
	return tile;
}

/* --- statistics --- */

void add_moments(const struct task *t, const float *x, int64_t rows, int split)
{
	int ld = t->x->ld;
	float *sum = t->vectors, *squares = sum + ld;
	double *out = sums_at(t->p, t->sums, 0, split);

	if (t->x->gamma < 0 || t->p->mode == NET_EVAL)
		return;
	t->net->kernels->moments(x, rows, ld, sum, squares);
	for (int c = 0; c < t->x->c; c++) {
		double mean = x[c] + sum[c] / (double)rows, m2 = squares[c] - sum[c] * (double)sum[c] / rows;

		out[c] += mean * rows;
		out[ld + c] += m2 + mean * mean * rows;
	}
}

void add_bias(const struct task *t, const float *dy, int64_t rows)
{
	const struct affine none = { 0 };
	int ld = t->x->ld;

	if (t->x->bias < 0)
		return;
	memset(t->vectors, 0, ld * sizeof(float));
	t->net->kernels->pool(dy, rows, ld, &none, ACT_NONE, t->vectors, NULL, NULL);
	for (int c = 0; c < t->x->c; c++)
		t->bias_grad[c] += t->vectors[c];
}

/* --- backward --- */

/* What image n's stored gradient is multiplied by, and what is added at every pixel before act'; (ld) each. */
static void image_vectors(const struct task *t, int n, float *gate, float *pooled)
{
	const struct node *x = t->x;
	const float *d = x->pool >= 0 ? d_at(t, x->pool, n, 0) : NULL;
	float share = 1.0f / (x->h * x->w);

	if (x->gated >= 0)
		read_vector(t, x->gated, n, gate);
	for (int c = 0; c < x->ld; c++) {
		pooled[c] = d ? share * d[c] : 0;
		gate[c] = x->gated >= 0 ? gate[c] : 1;
	}
}

bool gradient_is_stored(const struct node *x)
{
	return x->gamma < 0;
}

/* Of nodes with batch norm; the others' is stored. */
void read_gradient(const struct task *t, int n, int images, int y0, int y1, float *dst, int pitch)
{
	const struct node *x = t->x;
	const struct kernels *k = t->net->kernels;
	int split = split_of(t->p, n);
	const float *c = own(t, t->p->state[t->id].c) + (int64_t)split * 3 * x->ld;
	struct affine f = affine_of(t, t->id, split);
	bool by_image = x->pool >= 0 || x->gated >= 0;
	struct stretch s = stretch_of(x, images, y0, y1, pitch, by_image);
	int64_t rows = (int64_t)s.images * s.rows * x->w;

	for (int i = n; i < n + images; i += s.images) {
		if (by_image)
			image_vectors(t, i, t->vectors, t->vectors + x->ld);
		for (int y = y0; y < y1; y += s.rows, dst += (int64_t)s.images * s.rows * pitch * x->ld)
			if (by_image)
				k->grad_pooled(dst, x->stored ? d_at(t, t->id, i, y) : NULL, raw_at(t, t->id, i, y), rows, x->ld,
					       c, &f, x->act, t->vectors, t->vectors + x->ld);
			else
				k->grad(dst, d_at(t, t->id, i, y), raw_at(t, t->id, i, y), rows, x->ld, c);
	}
}

void add_image_sums(const struct task *t, int n)
{
	const struct node *x = t->x;
	const struct state *s = &t->p->state[t->id];
	const float *d = x->gated >= 0 ? s->images + (int64_t)n * 2 * x->ld : NULL;
	const float *slopes = x->pool >= 0 ? s->slopes + (int64_t)n * 2 * x->ld : NULL;
	float *gate = t->vectors, *pooled = gate + x->ld;
	double *out = sums_at(t->p, t->sums, 0, split_of(t->p, n));

	image_vectors(t, n, gate, pooled);
	for (int i = 0; i < 2; i++)
		for (int c = 0; c < x->c; c++)
			out[i * x->ld + c] += (d ? (double)gate[c] * d[i * x->ld + c] : 0) +
					      (slopes ? (double)pooled[c] * slopes[i * x->ld + c] : 0);
}

/* Folds column sums of at most a few hundred rows into the thread's double sums. */
static void fold(const struct task *t, int slot, int split, const struct node *x, const float *sum, const float *dots)
{
	double *out = sums_at(t->p, t->sums, slot, split);

	for (int c = 0; c < x->c; c++) {
		out[c] += sum[c];
		out[x->ld + c] += dots[c];
	}
}

void finish_images(const struct task *t, int slot, int node, int n, int images)
{
	const struct node *x = &t->net->nodes[node];
	int split = split_of(t->p, n);
	struct affine f = affine_of(t, node, split);
	int64_t rows = (int64_t)images * x->h * x->w;
	float *d = d_at(t, node, n, 0), *raw = raw_at(t, node, n, 0), *sum = t->vectors, *dots = sum + x->ld;

	if (x->act == ACT_NONE && x->gamma < 0)
		return;
	for (int64_t r = 0, step; r < rows; r += step) {
		step = MIN(256, rows - r);
		memset(sum, 0, 2 * x->ld * sizeof(float));
		t->net->kernels->finish(d + r * x->ld, raw + r * x->ld, step, x->ld, &f, x->act, sum, dots, NULL);
		if (x->gamma >= 0)
			fold(t, slot, split, x, sum, dots);
	}
}

void finish(const struct task *t, int slot, int n, int images)
{
	int node = t->x->in[slot], gate = t->x->gate;
	const struct node *x = &t->net->nodes[node];
	struct affine f = affine_of(t, node, split_of(t->p, n));

	if (gate < 0) {
		finish_images(t, slot, node, n, images);
		return;
	}
	for (int i = n; i < n + images; i++) {
		float *sums = t->p->state[node].images + (int64_t)i * 2 * x->ld, *gates = d_at(t, gate, i, 0);

		memset(sums, 0, 2 * x->ld * sizeof(float));
		memset(gates, 0, x->ld * sizeof(float));
		t->net->kernels->finish(d_at(t, node, i, 0), raw_at(t, node, i, 0), (int64_t)x->h * x->w, x->ld, &f, x->act, sums,
					sums + x->ld, gates);
		finish_images(t, 0, gate, i, 1);
	}
}

void add_gradient(const struct task *t, int slot, int n, int images, const float *from)
{
	int node = t->x->in[slot];
	const struct node *x = &t->net->nodes[node];
	float *d = d_at(t, node, n, 0);
	int64_t count = (int64_t)images * x->h * x->w * x->ld;

	if (d != from && t->x->first[slot])
		memcpy(d, from, count * sizeof(float));
	else if (d != from)
		t->net->kernels->add(d, from, count);
	if (t->x->last[slot])
		finish(t, slot, n, images);
}
