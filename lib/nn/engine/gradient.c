/* gradient.c - gradients of nodes: d as parts of it are added, and what is read of it (engine.h has the formulas) */
#include "lib/nn/engine/engine.h"

void gradient_image(const struct task *t, int n, float *gate, float *pooled)
{
	const struct node *x = t->x;
	const float *d = x->pool >= 0 ? gradient_at(t, x->pool, n, 0) : NULL;
	float share = 1.0f / (x->h * x->w);

	if (x->gated >= 0)
		value_vector(t, x->gated, n, gate);
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
	const float *c = norm_own(t, t->p->state[t->id].c), *pooled = t->vectors + x->ld;
	struct affine f = norm_affine(t, t->id);
	const void *d = x->stored ? gradient_at(t, t->id, n, y) : NULL, *raw = value_at(t, t->id, n, y);

	if (by_image && e == x->store)
		k->grad_pooled(dst, d, raw, rows, x->ld, c, &f, x->act, t->vectors, pooled);
	else if (by_image)
		k->grad_pooled_wide(dst, d, raw, rows, x->ld, c, &f, x->act, t->vectors, pooled);
	else if (e == x->store)
		k->grad(dst, d, raw, rows, x->ld, c);
	else
		k->grad_wide(dst, d, raw, rows, x->ld, c);
}

void gradient_read(const struct task *t, int n, int images, int y0, int y1, void *dst, enum dtype e, int pitch)
{
	const struct node *x = t->x;
	const struct affine none = { 0 };
	bool by_image = x->pool >= 0 || x->gated >= 0;
	struct stretch s = value_stretch(x, images, y0, y1, pitch, by_image);
	int64_t rows = (int64_t)s.images * s.rows * x->w, step = (int64_t)s.images * s.rows * pitch * x->ld;

	if (x->store == F32 && e == BF16) {
		for (int i = n; i < n + images; i++, dst = element_at(dst, e, (int64_t)pitch * x->ld)) {
			gradient_read(t, i, 1, y0, y1, pixel_room(t), F32, pitch);
			t->plan->kernels[e]->narrow(dst, pixel_room(t), x->ld);
		}
		return;
	}
	for (int i = n; i < n + images; i += s.images) {
		if (by_image)
			gradient_image(t, i, t->vectors, t->vectors + x->ld);
		for (int y = y0; y < y1; y += s.rows, dst = element_at(dst, e, step))
			if (x->gamma < 0)
				value_rows(kernels_of(t, t->id), x->store, e, dst, gradient_at(t, t->id, i, y), rows, x->ld,
					  &none, NULL, ACT_NONE);
			else
				grad_rows(t, i, y, rows, dst, e, by_image);
	}
}

/* Rows from y on of a node without a gate. */
static void finish_rows(const struct task *t, int slot, int node, int n, int y, int64_t rows, const float *part, bool add)
{
	const struct node *x = &t->plan->nodes[node];
	struct affine f = norm_affine(t, node);
	char *d = gradient_at(t, node, n, y), *raw = value_at(t, node, n, y);
	float *sum = t->vectors, *dots = sum + x->ld;

	if (x->act == ACT_NONE && x->gamma < 0 && !part)
		return;
	for (int64_t r = 0, step; r < rows; r += step) {
		step = MIN(256, rows - r);
		memset(sum, 0, 2 * x->ld * sizeof(float));
		kernels_of(t, node)->finish(element_at(d, x->store, r * x->ld), part ? part + r * x->ld : NULL, add,
					    element_at(raw, x->store, r * x->ld), step, x->ld, &f, x->act, sum, dots, NULL,
					    part && !add && value_past(t, node));
		if (x->gamma >= 0)
			norm_add_gradient(t, slot, x, sum, dots);
	}
}

void gradient_finish(const struct task *t, int slot, int node, int n, int images)
{
	const struct node *x = &t->plan->nodes[node];

	finish_rows(t, slot, node, n, 0, (int64_t)images * x->h * x->w, NULL, false);
}

/* Rows y0..y1 of one image, read with a gate: its sums, and the gate's gradient. */
static void finish_gated(const struct task *t, int node, int n, int y0, int y1, const float *part)
{
	const struct node *x = &t->plan->nodes[node];
	int gate = t->x->gate;
	float *sums = t->p->state[node].images + (int64_t)n * 2 * x->ld, *gates = gradient_at(t, gate, n, 0);
	struct affine f = norm_affine(t, node);

	if (y0 == 0) {
		memset(sums, 0, 2 * x->ld * sizeof(float));
		memset(gates, 0, x->ld * sizeof(float));
	}
	kernels_of(t, node)->finish(gradient_at(t, node, n, y0), part, false, value_at(t, node, n, y0),
				    (int64_t)(y1 - y0) * x->w, x->ld, &f,
				    x->act, sums, sums + x->ld, gates, part && value_past(t, node));
	if (y1 == x->h)
		gradient_finish(t, 0, gate, n, 1);
}

void gradient_give(const struct task *t, int slot, int n, int images, int y0, int y1, const float *part)
{
	const struct affine none = { 0 };
	int node = t->x->in[slot];
	const struct node *x = &t->plan->nodes[node];
	int64_t rows = (int64_t)images * (y1 - y0) * x->w, band = (int64_t)(y1 - y0) * x->w * x->ld;

	if (!t->x->last[slot] && !part)
		return;
	if (!t->x->last[slot])
		kernels_of(t, node)->finish(gradient_at(t, node, n, y0), part, !t->x->first[slot], NULL, rows, x->ld, &none,
					    ACT_NONE, NULL, NULL, NULL, t->x->first[slot] && value_past(t, node));
	else if (t->x->gate < 0)
		finish_rows(t, slot, node, n, y0, rows, part, !t->x->first[slot]);
	else
		for (int i = 0; i < images; i++)
			finish_gated(t, node, n + i, y0, y1, part ? part + i * band : NULL);
}

void gradient_bias(const struct task *t, const void *dy, enum dtype e, int64_t rows)
{
	const struct affine none = { 0 };
	int ld = t->x->ld;

	if (t->x->bias < 0)
		return;
	memset(t->vectors, 0, ld * sizeof(float));
	t->plan->kernels[e]->pool(dy, rows, ld, &none, ACT_NONE, t->vectors, NULL, NULL);
	for (int c = 0; c < t->x->c; c++)
		t->bias_grad[c] += t->vectors[c];
}
