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

	return (struct chunk){ .n = t->n0, .end = t->n1, .h = h, .rows = (h + bands - 1) / bands, .group = MAX(1, target / image), .p = t->p };
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

float *raw_at(const struct task *t, int node, int n, int y)
{
	const struct node *x = &t->net->nodes[node];

	return t->p->state[node].raw + ((int64_t)n * x->h + y) * x->w * x->ld;
}

float *d_at(const struct task *t, int node, int n, int y)
{
	const struct node *x = &t->net->nodes[node];

	return t->p->state[node].d + ((int64_t)n * x->h + y) * x->w * x->ld;
}

struct affine affine_of(const struct task *t, int node, int split)
{
	const struct node *x = &t->net->nodes[node];
	const struct state *s = &t->p->state[node];
	int64_t o = (int64_t)split * x->ld;

	if (!s->scale)
		return (struct affine){ 0 };
	return (struct affine){ s->scale + o, s->shift + o, s->xscale ? s->xscale + o : NULL, s->xshift ? s->xshift + o : NULL };
}

/* --- forward --- */

bool value_is_raw(const struct node *x, int gate)
{
	return x->op != OP_VIEW && x->gamma < 0 && x->bias < 0 && x->act == ACT_NONE && gate < 0;
}

static void read_views(const struct task *t, int n, int images, int y0, int y1, float *dst)
{
	const struct net_config *c = &t->net->config;
	int64_t pixels = (int64_t)(y1 - y0) * c->width;
	float scale[3], shift[3];

	for (int i = 0; i < 3; i++) {
		scale[i] = 1 / (255 * c->std[i]);
		shift[i] = -c->mean[i] / c->std[i];
	}
	for (int i = n; i < n + images; i++, dst += 3 * pixels) {
		int64_t view = t->p->order ? t->p->order[i] : i;

		t->net->kernels->read_view(dst, t->p->views + (view * c->height + y0) * c->width * 3, pixels, scale, shift);
	}
}

/* Value of one row (an image's vector) of a node of 1x1. */
static void read_vector(const struct task *t, int node, int n, float *dst)
{
	const struct node *x = &t->net->nodes[node];
	struct affine f = affine_of(t, node, 0);

	t->net->kernels->read(dst, raw_at(t, node, n, 0), 1, x->ld, &f, NULL, x->act, false);
}

void read_value(const struct task *t, int node, int gate, int n, int images, int y0, int y1, float *dst)
{
	const struct node *x = &t->net->nodes[node];
	struct affine f = affine_of(t, node, split_of(t->p, n));
	int64_t rows = (int64_t)(y1 - y0) * x->w, step = gate >= 0 || y1 - y0 < x->h ? 1 : images;

	if (x->op == OP_VIEW) {
		read_views(t, n, images, y0, y1, dst);
		return;
	}
	for (int i = n; i < n + images; i += step, dst += step * rows * x->ld) {
		float *vector = gate >= 0 ? t->vectors : NULL;

		if (gate >= 0)
			read_vector(t, gate, i, vector);
		t->net->kernels->read(dst, raw_at(t, node, i, y0), step * rows, x->ld, &f, vector, x->act, false);
	}
}

void add_moments(const struct task *t, const float *x, int64_t rows, int split)
{
	int ld = t->x->ld;
	float *sum = t->vectors, *squares = sum + ld;
	double *out = sums_of(t->p, t->thread, 0, split);

	if (t->x->gamma < 0 || t->p->mode == NET_EVAL)
		return;
	t->net->kernels->moments(x, rows, ld, sum, squares);
	for (int c = 0; c < t->x->c; c++) {
		double mean = x[c] + sum[c] / (double)rows, m2 = squares[c] - sum[c] * (double)sum[c] / rows;

		out[c] += mean * rows;
		out[ld + c] += m2 + mean * mean * rows;
	}
}

/* --- backward --- */

void image_vectors(const struct task *t, int n, float *gate, float *pooled)
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

static void gradient_image(const struct task *t, int n, int y0, int64_t rows, const float *c, float *dst)
{
	const struct node *x = t->x;
	struct affine f = affine_of(t, t->id, split_of(t->p, n));
	float *gate = t->vectors, *pooled = gate + x->ld;

	image_vectors(t, n, gate, pooled);
	t->net->kernels->grad_pooled(dst, x->stored ? d_at(t, t->id, n, y0) : NULL, raw_at(t, t->id, n, y0), rows, x->ld, c, &f, x->act,
				     gate, pooled);
}

const float *read_gradient(const struct task *t, int n, int images, int y0, int y1, float *dst)
{
	const struct node *x = t->x;
	const float *c = t->p->state[t->id].c + (int64_t)split_of(t->p, n) * 3 * x->ld;
	int64_t rows = (int64_t)(y1 - y0) * x->w;

	if (x->gamma < 0)
		return d_at(t, t->id, n, y0);
	if (x->pool < 0 && x->gated < 0)
		t->net->kernels->grad(dst, d_at(t, t->id, n, y0), raw_at(t, t->id, n, y0), images * rows, x->ld, c);
	else
		for (int i = 0; i < images; i++)
			gradient_image(t, n + i, y0, rows, c, dst + i * rows * x->ld);
	return dst;
}

/* Folds column sums of at most a few hundred rows into the thread's double sums. */
static void fold(const struct task *t, int slot, int split, const struct node *x, const float *sum, const float *dots)
{
	double *out = sums_of(t->p, t->thread, slot, split);

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

	for (int64_t r = 0, step; r < rows; r += step) {
		step = MIN(256, rows - r);
		memset(sum, 0, 2 * x->ld * sizeof(float));
		t->net->kernels->finish(d + r * x->ld, raw + r * x->ld, step, x->ld, &f, x->act, sum, dots);
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
		float *sums = t->p->state[node].images + (int64_t)i * 2 * x->ld;

		t->net->kernels->finish_gated(d_at(t, node, i, 0), raw_at(t, node, i, 0), (int64_t)x->h * x->w, x->ld, &f, x->act, sums,
					      sums + x->ld, d_at(t, gate, i, 0));
		finish_images(t, 1, gate, i, 1);
	}
}
