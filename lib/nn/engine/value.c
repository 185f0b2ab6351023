/* value.c - values of nodes, computed while they are read; and storing what they are computed from (engine.h has the formulas) */
#include "lib/nn/engine/engine.h"

bool value_is_raw(const struct node *x, int gate, enum dtype e)
{
	return !x->op->read && x->gamma < 0 && x->bias < 0 && x->act == ACT_NONE && gate < 0 && x->store == e;
}

void value_vector(const struct task *t, int node, int n, float *dst)
{
	const struct node *x = &t->plan->nodes[node];
	struct affine f = norm_affine(t, node);

	kernels_of(t, node)->read_wide(dst, value_at(t, node, n, 0), 1, x->ld, &f, NULL, x->act, false);
}

struct stretch value_stretch(const struct node *x, int images, int y0, int y1, int pitch, bool by_image)
{
	bool dense = pitch == x->w;

	return (struct stretch){ dense && !by_image && y1 - y0 == x->h ? images : 1, dense ? y1 - y0 : 1 };
}

void value_rows(const struct kernels *k, enum dtype store, enum dtype e, void *dst, const void *src, int64_t rows, int ld,
		      const struct affine *f, const float *gate, enum act act)
{
	if (e == store)
		k->read(dst, src, rows, ld, f, gate, act);
	else
		k->read_wide(dst, src, rows, ld, f, gate, act, false);
}

void value_read(const struct task *t, int node, int gate, int n, int images, int y0, int y1, void *dst, enum dtype e, int pitch)
{
	const struct node *x = &t->plan->nodes[node];
	struct stretch s = value_stretch(x, images, y0, y1, pitch, gate >= 0);
	int64_t step = (int64_t)s.images * s.rows * pitch * x->ld;
	struct affine f;

	if (x->op->read) {
		x->op->read(t, node, n, images, y0, y1, dst, e, pitch);
		return;
	}
	if (x->store == F32 && e == BF16) {
		for (int i = n; i < n + images; i++, dst = element_at(dst, e, (int64_t)pitch * x->ld)) {
			value_read(t, node, gate, i, 1, y0, y1, pixel_room(t), F32, pitch);
			t->plan->kernels[e]->narrow(dst, pixel_room(t), x->ld);
		}
		return;
	}
	f = norm_affine(t, node);
	for (int i = n; i < n + images; i += s.images) {
		if (gate >= 0)
			value_vector(t, gate, i, t->vectors);
		for (int y = y0; y < y1; y += s.rows, dst = element_at(dst, e, step))
			value_rows(kernels_of(t, node), x->store, e, dst, value_at(t, node, i, y),
				  (int64_t)s.images * s.rows * x->w, x->ld, &f, gate >= 0 ? t->vectors : NULL, x->act);
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

	value_read(t, x->in[0], x->gate, c->n, c->images, ya, yb, tile_at(&tile, 0, ya, 0), e, tile.w);
	return tile;
}

/* --- storing --- */

/*
 * More than the caches hold of one thread's share: stored past them it need not be fetched first. A pass that keeps nothing for a
 * gradient writes the same few arrays again and again, and finds more of them there.
 */
#define CACHED_BYTES (4 << 20)
#define REWRITTEN_BYTES (12 << 20)

bool value_past(const struct task *t, int node)
{
	const struct node *x = &t->plan->nodes[node];
	int64_t bytes = (int64_t)(t->n1 - t->n0) * x->h * x->w * x->ld * (int64_t)element_size(x->store);

	return bytes > (t->p->grad ? CACHED_BYTES : REWRITTEN_BYTES);
}

void value_put(const struct task *t, int n, int y, const float *from, int64_t rows)
{
	const struct node *x = t->x;
	float *origin = t->vectors, *sum = origin + x->ld, *squares = sum + x->ld;
	bool summed = x->gamma >= 0 && t->p->mode != PASS_EVAL;

	kernels_of(t, t->id)->put(value_at(t, t->id, n, y), from, rows, x->ld, origin, summed ? sum : NULL, squares,
				 value_past(t, t->id));
	if (summed)
		norm_add_rows(t, rows, origin, sum, squares);
}
