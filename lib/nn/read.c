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

	return t->thread * t->p->arena_size + ((int64_t)(n - t->n0) * x->h + y) * x->w * x->ld * element_size(x->store);
}

void *raw_at(const struct task *t, int node, int n, int y)
{
	return t->p->state[node].raw + place(t, node, n, y);
}

void *d_at(const struct task *t, int node, int n, int y)
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

bool value_is_raw(const struct node *x, int gate, enum dtype e)
{
	return x->op != OP_VIEW && x->gamma < 0 && x->bias < 0 && x->act == ACT_NONE && gate < 0 && x->store == e;
}

static void read_views(const struct task *t, int n, int images, int y0, int y1, char *dst, enum dtype e, int pitch)
{
	const struct net_config *c = &t->net->config;
	float scale[3], shift[3];

	for (int i = 0; i < 3; i++) {
		scale[i] = 1 / (255 * c->std[i]);
		shift[i] = -c->mean[i] / c->std[i];
	}
	for (int i = n; i < n + images; i++) {
		int64_t view = t->p->order ? t->p->order[i] : i;

		for (int y = y0; y < y1; y++, dst += 3 * pitch * element_size(e))
			t->net->kernels[e]->read_view(dst, t->p->views + (view * c->height + y) * c->width * 3, c->width, scale,
						      shift);
	}
}

/* Value of one row (an image's vector) of a node of 1x1. */
static void read_vector(const struct task *t, int node, int n, float *dst)
{
	const struct node *x = &t->net->nodes[node];
	struct affine f = affine_of(t, node, 0);

	kernels_of(t, node)->read_wide(dst, raw_at(t, node, n, 0), 1, x->ld, &f, NULL, x->act, false);
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

/* Rows of what is stored, through an affine and an activation. */
static void read_rows(const struct kernels *k, enum dtype store, enum dtype e, void *dst, const void *src, int64_t rows, int ld,
		      const struct affine *f, const float *gate, enum act act)
{
	if (e == store)
		k->read(dst, src, rows, ld, f, gate, act);
	else
		k->read_wide(dst, src, rows, ld, f, gate, act, false);
}

/* Floats of one pixel an image on their way to be factors, where neither gates nor pooled gradients lie. */
static float *pixel_room(const struct task *t)
{
	return t->vectors + (size_t)(VECTORS - 1) * t->p->ldmax;
}

/* A few rows at a time pass through t->vectors as floats. */
static void read_layernorm(const struct task *t, int node, int n, int images, int y0, int y1, void *dst, enum dtype e, int pitch)
{
	const struct node *x = &t->net->nodes[node], *in = &t->net->nodes[x->in[0]];
	struct affine f = affine_of(t, x->in[0], split_of(t->p, n));
	struct stretch s = stretch_of(x, images, y0, y1, pitch, false);
	int64_t rows = (int64_t)s.images * s.rows * x->w, count;

	for (int i = n; i < n + images; i += s.images)
		for (int y = y0; y < y1; y += s.rows, dst = element_at(dst, e, rows / x->w * pitch * x->ld))
			for (int64_t r = 0; r < rows; r += count) {
				count = MIN(VECTORS, rows - r);
				kernels_of(t, x->in[0])->read_wide(t->vectors, element_at(raw_at(t, x->in[0], i, y), in->store, r * x->ld),
								   count, x->ld, &f, NULL, in->act, false);
				t->net->kernels[e]->layernorm(element_at(dst, e, r * x->ld), t->vectors, count, x->c, x->ld,
							      t->params + x->weight, t->params + x->bias, (float)t->net->bn_eps);
			}
}

void read_value(const struct task *t, int node, int gate, int n, int images, int y0, int y1, void *dst, enum dtype e, int pitch)
{
	const struct node *x = &t->net->nodes[node];
	struct stretch s = stretch_of(x, images, y0, y1, pitch, gate >= 0);
	int64_t step = (int64_t)s.images * s.rows * pitch * x->ld;
	struct affine f;

	if (x->op == OP_VIEW) {
		read_views(t, n, images, y0, y1, dst, e, pitch);
		return;
	}
	if (x->op == OP_LAYERNORM) {
		read_layernorm(t, node, n, images, y0, y1, dst, e, pitch);
		return;
	}
	if (x->store == F32 && e == BF16) {
		for (int i = n; i < n + images; i++, dst = element_at(dst, e, (int64_t)pitch * x->ld)) {
			read_value(t, node, gate, i, 1, y0, y1, pixel_room(t), F32, pitch);
			t->net->kernels[e]->narrow(dst, pixel_room(t), x->ld);
		}
		return;
	}
	f = affine_of(t, node, split_of(t->p, n));
	for (int i = n; i < n + images; i += s.images) {
		if (gate >= 0)
			read_vector(t, gate, i, t->vectors);
		for (int y = y0; y < y1; y += s.rows, dst = element_at(dst, e, step))
			read_rows(kernels_of(t, node), x->store, e, dst, raw_at(t, node, i, y), (int64_t)s.images * s.rows * x->w,
				  x->ld, &f, gate >= 0 ? t->vectors : NULL, x->act);
	}
}

/* --- tiles --- */

void *tile_at(const struct tile *t, int image, int y, int x)
{
	return element_at(t->base, t->element, (((int64_t)image * t->rows + y - t->top) * t->w + x + t->left) * t->ld);
}

void tile_clear(const struct tile *t, int64_t rows, int w)
{
	char *at = t->base;
	size_t pixel = t->ld * element_size(t->element);

	for (int64_t y = 0; y < rows; y++, at += t->w * pixel) {
		memset(at, 0, t->left * pixel);
		memset(at + (t->left + w) * pixel, 0, (t->w - t->left - w) * pixel);
	}
}

int tile_width(const struct node *x, const struct node *in)
{
	return MAX(in->w + x->pad, (x->w - 1) * x->stride + x->k - x->pad) + x->pad;
}

struct tile tile_values(const struct task *t, const struct chunk *c, void *base, enum dtype e)
{
	const struct node *x = t->x, *in = t->in;
	bool whole = c->y1 - c->y0 == x->h;
	int ya = whole ? 0 : MAX(0, c->y0 * x->stride - x->pad);
	int yb = whole ? in->h : MIN(in->h, (c->y1 - 1) * x->stride - x->pad + x->k);
	struct tile tile = { base, e, c->images, yb - ya, ya, x->pad, tile_width(x, in), in->ld };

	read_value(t, x->in[0], x->gate, c->n, c->images, ya, yb, tile_at(&tile, 0, ya, 0), e, tile.w);
	return tile;
}

/* --- storing --- */

/*
 * More than the caches hold of one thread's share: stored past them it need not be fetched first. A pass that keeps nothing for a
 * gradient writes the same few arrays again and again, and finds more of them there.
 */
#define CACHED_BYTES (4 << 20)
#define REWRITTEN_BYTES (12 << 20)

bool stored_past(const struct task *t, int node)
{
	const struct node *x = &t->net->nodes[node];
	int64_t bytes = (int64_t)(t->n1 - t->n0) * x->h * x->w * x->ld * (int64_t)element_size(x->store);

	return bytes > (t->p->grad ? CACHED_BYTES : REWRITTEN_BYTES);
}

void put(const struct task *t, int n, int y, const float *from, int64_t rows, int split)
{
	const struct node *x = t->x;
	float *origin = t->vectors, *sum = origin + x->ld, *squares = sum + x->ld;
	double *out = sums_at(t->p, t->sums, 0, split);
	bool summed = x->gamma >= 0 && t->p->mode != NET_EVAL;

	kernels_of(t, t->id)->put(raw_at(t, t->id, n, y), from, rows, x->ld, origin, summed ? sum : NULL, squares,
				 stored_past(t, t->id));
	for (int c = 0; c < x->c && summed; c++) {
		double mean = origin[c] + sum[c] / (double)rows, m2 = squares[c] - sum[c] * (double)sum[c] / rows;

		out[c] += mean * rows;
		out[x->ld + c] += m2 + mean * mean * rows;
	}
}

void add_bias(const struct task *t, const void *dy, enum dtype e, int64_t rows)
{
	const struct affine none = { 0 };
	int ld = t->x->ld;

	if (t->x->bias < 0)
		return;
	memset(t->vectors, 0, ld * sizeof(float));
	t->net->kernels[e]->pool(dy, rows, ld, &none, ACT_NONE, t->vectors, NULL, NULL);
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

bool gradient_is_stored(const struct node *x, enum dtype e)
{
	return x->gamma < 0 && x->store == e;
}

/* Rows of the gradient through batch norm; by_image: gate and mean-pool are in t->vectors. */
static void grad_rows(const struct task *t, int n, int y, int64_t rows, void *dst, enum dtype e, bool by_image)
{
	const struct node *x = t->x;
	const struct kernels *k = kernels_of(t, t->id);
	int split = split_of(t->p, n);
	const float *c = own(t, t->p->state[t->id].c) + (int64_t)split * 3 * x->ld, *pooled = t->vectors + x->ld;
	struct affine f = affine_of(t, t->id, split);
	const void *d = x->stored ? d_at(t, t->id, n, y) : NULL, *raw = raw_at(t, t->id, n, y);

	if (by_image && e == x->store)
		k->grad_pooled(dst, d, raw, rows, x->ld, c, &f, x->act, t->vectors, pooled);
	else if (by_image)
		k->grad_pooled_wide(dst, d, raw, rows, x->ld, c, &f, x->act, t->vectors, pooled);
	else if (e == x->store)
		k->grad(dst, d, raw, rows, x->ld, c);
	else
		k->grad_wide(dst, d, raw, rows, x->ld, c);
}

void read_gradient(const struct task *t, int n, int images, int y0, int y1, void *dst, enum dtype e, int pitch)
{
	const struct node *x = t->x;
	const struct affine none = { 0 };
	bool by_image = x->pool >= 0 || x->gated >= 0;
	struct stretch s = stretch_of(x, images, y0, y1, pitch, by_image);
	int64_t rows = (int64_t)s.images * s.rows * x->w, step = (int64_t)s.images * s.rows * pitch * x->ld;

	if (x->store == F32 && e == BF16) {
		for (int i = n; i < n + images; i++, dst = element_at(dst, e, (int64_t)pitch * x->ld)) {
			read_gradient(t, i, 1, y0, y1, pixel_room(t), F32, pitch);
			t->net->kernels[e]->narrow(dst, pixel_room(t), x->ld);
		}
		return;
	}
	for (int i = n; i < n + images; i += s.images) {
		if (by_image)
			image_vectors(t, i, t->vectors, t->vectors + x->ld);
		for (int y = y0; y < y1; y += s.rows, dst = element_at(dst, e, step))
			if (x->gamma < 0)
				read_rows(kernels_of(t, t->id), x->store, e, dst, d_at(t, t->id, i, y), rows, x->ld, &none, NULL,
					  ACT_NONE);
			else
				grad_rows(t, i, y, rows, dst, e, by_image);
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

/* Rows from y on of a node without a gate. */
static void finish_rows(const struct task *t, int slot, int node, int n, int y, int64_t rows, const float *part, bool add)
{
	const struct node *x = &t->net->nodes[node];
	int split = split_of(t->p, n);
	struct affine f = affine_of(t, node, split);
	char *d = d_at(t, node, n, y), *raw = raw_at(t, node, n, y);
	float *sum = t->vectors, *dots = sum + x->ld;

	if (x->act == ACT_NONE && x->gamma < 0 && !part)
		return;
	for (int64_t r = 0, step; r < rows; r += step) {
		step = MIN(256, rows - r);
		memset(sum, 0, 2 * x->ld * sizeof(float));
		kernels_of(t, node)->finish(element_at(d, x->store, r * x->ld), part ? part + r * x->ld : NULL, add,
					    element_at(raw, x->store, r * x->ld), step, x->ld, &f, x->act, sum, dots, NULL,
					    part && !add && stored_past(t, node));
		if (x->gamma >= 0)
			fold(t, slot, split, x, sum, dots);
	}
}

void finish_images(const struct task *t, int slot, int node, int n, int images)
{
	const struct node *x = &t->net->nodes[node];

	finish_rows(t, slot, node, n, 0, (int64_t)images * x->h * x->w, NULL, false);
}

/* Rows y0..y1 of one image, read with a gate: its sums, and the gate's gradient. */
static void finish_gated(const struct task *t, int node, int n, int y0, int y1, const float *part)
{
	const struct node *x = &t->net->nodes[node];
	int gate = t->x->gate;
	float *sums = t->p->state[node].images + (int64_t)n * 2 * x->ld, *gates = d_at(t, gate, n, 0);
	struct affine f = affine_of(t, node, split_of(t->p, n));

	if (y0 == 0) {
		memset(sums, 0, 2 * x->ld * sizeof(float));
		memset(gates, 0, x->ld * sizeof(float));
	}
	kernels_of(t, node)->finish(d_at(t, node, n, y0), part, false, raw_at(t, node, n, y0), (int64_t)(y1 - y0) * x->w, x->ld, &f,
				    x->act, sums, sums + x->ld, gates, part && stored_past(t, node));
	if (y1 == x->h)
		finish_images(t, 0, gate, n, 1);
}

void give(const struct task *t, int slot, int n, int images, int y0, int y1, const float *part)
{
	const struct affine none = { 0 };
	int node = t->x->in[slot];
	const struct node *x = &t->net->nodes[node];
	int64_t rows = (int64_t)images * (y1 - y0) * x->w, band = (int64_t)(y1 - y0) * x->w * x->ld;

	if (!t->x->last[slot] && !part)
		return;
	if (!t->x->last[slot])
		kernels_of(t, node)->finish(d_at(t, node, n, y0), part, !t->x->first[slot], NULL, rows, x->ld, &none, ACT_NONE, NULL,
					    NULL, NULL, t->x->first[slot] && stored_past(t, node));
	else if (t->x->gate < 0)
		finish_rows(t, slot, node, n, y0, rows, part, !t->x->first[slot]);
	else
		for (int i = 0; i < images; i++)
			finish_gated(t, node, n + i, y0, y1, part ? part + i * band : NULL);
}
