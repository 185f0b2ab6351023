/*
 * pass.c - memory of a pass, planned once
 *
 * Raw outputs and gradients live from the operation that writes them to the last one that reads them; the clock counts
 * operations. A thread touches no images but its own, so each has an arena of its own, all laid out alike: however far apart
 * threads are in their work, none disturbs another. Each array takes the lowest place that is free for its whole life.
 */
#include "lib/nn/engine/engine.h"

#include <omp.h>

#define PARTIAL_FLOATS (1 << 20)   /* weight gradients of a thread between two meetings, at least */

struct piece {
	int64_t size, at;        /* bytes; -1: not placed yet */
	int start, end;
	char **where;
};

/* Most images that one thread has. */
static int share(const struct pass *p)
{
	return (p->batch + p->threads - 1) / p->threads;
}

static int64_t node_bytes(const struct pass *p, const struct node *x)
{
	return padded((size_t)share(p) * x->h * x->w * x->ld * element_size(x->store));
}

/* --- lifetimes: forward operation i runs at i, backward after all of them --- */

static int backward_time(const struct plan *plan, int i)
{
	return 2 * plan->count - i;
}

/* Whether nothing in the backward pass depends on the node's value. */
static bool read_once(const struct plan *plan, int i)
{
	bool once = plan->nodes[i].act == ACT_NONE && plan->nodes[i].gamma < 0;

	for (int j = i + 1; j < plan->count && once; j++) {
		const struct node *x = &plan->nodes[j];

		once = x->gate != i && ((x->in[0] != i && x->in[1] != i) || x->op->blind);
	}
	return once;
}

static int raw_end(const struct plan *plan, int i, bool grad)
{
	int end = backward_time(plan, i);

	if (!grad || plan->nodes[i].last_reader < plan->first || read_once(plan, i))
		return plan->nodes[i].last_reader;
	for (int j = 0; j < plan->count; j++)
		if (plan->nodes[j].gated == i)
			end = MAX(end, backward_time(plan, j));           /* its value multiplies that gradient */
	return end;
}

static int d_end(const struct plan *plan, int i)
{
	int end = backward_time(plan, i);

	for (int j = 0; j < plan->count; j++)
		if (plan->nodes[j].pool == i || plan->nodes[j].share == i)
			end = MAX(end, backward_time(plan, j));
	return end;
}

static int d_start(const struct plan *plan, int i)
{
	return plan->nodes[i].output ? plan->count : backward_time(plan, plan->nodes[i].last_reader);
}

/* Whether the backward pass comes so far: as what reads the node, or a node that has this one's d. */
static bool is_reached(const struct plan *plan, int i)
{
	for (int j = 1; j <= i; j++)
		if (plan->nodes[j].share == i && (plan->nodes[j].output || plan->nodes[j].last_reader >= plan->first))
			return true;
	return false;
}

static int list_pieces(struct pass *p, struct piece *list)
{
	const struct plan *plan = p->plan;
	int n = 0;

	for (int i = 1; i < p->end; i++) {
		const struct node *x = &plan->nodes[i];

		if (!x->op->read)
			list[n++] = (struct piece){ node_bytes(p, x), -1, i, raw_end(plan, i, p->grad), &p->state[i].raw };
		if (p->grad && x->stored && x->share == i && is_reached(plan, i))
			list[n++] = (struct piece){ node_bytes(p, x), -1, d_start(plan, i), d_end(plan, i), &p->state[i].d };
	}
	return n;
}

/* --- places --- */

/* The lowest address where piece k overlaps none that is placed and alive at the same time. */
static int64_t place(const struct piece *list, int n, int k)
{
	int64_t at = 0;

	for (bool moved = true; moved;) {
		moved = false;
		for (int i = 0; i < n; i++) {
			const struct piece *o = &list[i], *x = &list[k];

			if (o->at < 0 || i == k || o->end < x->start || x->end < o->start)
				continue;
			if (at < o->at + o->size && o->at < at + x->size) {
				at = o->at + o->size;
				moved = true;
			}
		}
	}
	return at;
}

static int by_start(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return x->start != y->start ? x->start - y->start : (x->size < y->size) - (x->size > y->size);
}

static void plan_arena(struct pass *p)
{
	struct piece *list = xcalloc(2 * NODES_MAX, sizeof(*list));
	int n = list_pieces(p, list);

	qsort(list, n, sizeof(*list), by_start);
	for (int k = 0; k < n; k++) {
		list[k].at = place(list, n, k);
		p->arena_size = MAX(p->arena_size, list[k].at + list[k].size);
	}
	p->arena = xaligned(p->threads * p->arena_size);
	for (int k = 0; k < n; k++)
		*list[k].where = p->arena + list[k].at;
	for (int i = 1; i < p->end; i++)
		p->state[i].d = p->state[p->plan->nodes[i].share].d;
	free(list);
}

/* A part of a vector that is laid out piece by piece; base == NULL only counts. */
static float *take(float *base, size_t *used, size_t size)
{
	float *at = base ? base + *used : NULL;

	*used += size;
	return size ? at : NULL;
}

/* Per-channel vectors of one thread. */
static size_t lay_channels(struct pass *p, float *base)
{
	size_t used = 0;

	for (int i = 1; i < p->end; i++) {
		const struct node *x = &p->plan->nodes[i];
		struct state *s = &p->state[i];
		size_t norm = x->gamma >= 0 ? x->ld : 0, affine = x->gamma >= 0 || x->bias >= 0 ? x->ld : 0;

		s->scale = take(base, &used, affine);
		s->shift = take(base, &used, affine);
		s->xscale = take(base, &used, norm);
		s->xshift = take(base, &used, norm);
		s->c = take(base, &used, p->grad ? 3 * norm : 0);
	}
	return used;
}

static size_t lay_images(struct pass *p, float *base)
{
	size_t used = 0;

	for (int i = 1; i < p->end && p->grad; i++) {
		const struct node *x = &p->plan->nodes[i];
		size_t sums = (size_t)p->batch * 2 * x->ld;

		p->state[i].images = take(base, &used, x->gated >= 0 ? sums : 0);
		p->state[i].slopes = take(base, &used, x->pool >= 0 ? sums : 0);
	}
	return used;
}

static void plan_vectors(struct pass *p)
{
	p->channels = lay_channels(p, NULL);
	p->vectors = xaligned(p->threads * p->channels * sizeof(float));
	lay_channels(p, p->vectors);
	p->images_size = lay_images(p, NULL);
	p->images = xaligned(p->images_size * sizeof(float));
	lay_images(p, p->images);
}

static size_t sums_bytes(const struct pass *p)
{
	return sizeof(double) * 2 * p->threads * norm_stride(p);
}

static void open_rooms(struct pass *p)
{
	const struct backend *wide = p->plan->backend[F32], *narrow = p->plan->backend[BF16];

	p->rooms[F32] = xcalloc(p->threads, sizeof(*p->rooms[F32]));
	p->rooms[BF16] = narrow == wide ? p->rooms[F32] : xcalloc(p->threads, sizeof(*p->rooms[BF16]));
	for (int t = 0; t < p->threads; t++) {
		p->rooms[F32][t] = wide->open();
		if (narrow && narrow != wide)
			p->rooms[BF16][t] = narrow->open();
	}
}

static void close_rooms(struct pass *p)
{
	const struct backend *wide = p->plan->backend[F32], *narrow = p->plan->backend[BF16];

	for (int t = 0; t < p->threads; t++) {
		wide->close(p->rooms[F32][t]);
		if (narrow && narrow != wide)
			narrow->close(p->rooms[BF16][t]);
	}
	if (narrow != wide)
		free(p->rooms[BF16]);
	free(p->rooms[F32]);
}

static void plan_threads(struct pass *p)
{
	const struct plan *plan = p->plan;

	for (int i = 1; i < p->end; i++) {
		const struct node *x = &plan->nodes[i];

		if (x->op->scratch)
			p->scratch_size = MAX(p->scratch_size, x->op->scratch(x, &plan->nodes[x->in[0]], p->grad));
		if (x->output) /* copy_output() */
			p->scratch_size = MAX(p->scratch_size, (size_t)x->w * x->ld * sizeof(float));
		p->partial_size = MAX(p->partial_size, (size_t)x->weights + x->ld);
		p->ldmax = MAX(p->ldmax, x->ld);
	}
	p->scratch_size = padded(p->scratch_size);
	p->partial_size = MAX(p->partial_size, PARTIAL_FLOATS);
	p->scratch = xcalloc(p->threads, sizeof(*p->scratch));
	p->partial = xcalloc(p->threads, sizeof(*p->partial));
	for (int t = 0; t < p->threads; t++) {
		p->scratch[t] = xaligned(p->scratch_size + VECTORS * p->ldmax * sizeof(float));
		if (t && p->grad)
			p->partial[t] = xaligned(2 * p->partial_size * sizeof(float));
	}
	p->sums = xaligned(sums_bytes(p));
	open_rooms(p);
}

void pass_share(struct pass *p, struct factors *f)
{
	factors_free(p->own);
	p->own = NULL;
	factors_use(p, f);
}

/* --- life cycle --- */

struct pass *pass_new(const struct plan *plan, int batch, bool grad)
{
	struct pass *p = xcalloc(1, sizeof(*p));

	p->plan = plan;
	p->batch = batch;
	p->grad = grad;
	p->end = plan_end(plan, grad);
	p->threads = omp_get_max_threads();
	p->state = xcalloc(plan->count, sizeof(*p->state));
	plan_arena(p);
	plan_vectors(p);
	plan_threads(p);
	p->own = factors_new(plan, grad);
	factors_use(p, p->own);
	for (int i = 0; i < OUTPUTS; i++)
		if (plan->outputs[i] >= 0 && plan->outputs[i] < p->end)
			p->outputs[i] = xaligned((size_t)batch * net_width(plan->net, i) * sizeof(float));
	return p;
}

void pass_free(struct pass *p)
{
	if (!p)
		return;
	for (int t = 0; t < p->threads; t++) {
		free(p->scratch[t]);
		free(p->partial[t]);
	}
	free(p->scratch);
	free(p->partial);
	close_rooms(p);
	factors_free(p->own);
	free(p->sums);
	free(p->arena);
	free(p->vectors);
	free(p->images);
	for (int i = 0; i < OUTPUTS; i++)
		free(p->outputs[i]);
	free(p->state);
	free(p);
}

size_t pass_bytes(const struct pass *p)
{
	size_t thread = p->channels + VECTORS * p->ldmax;
	size_t outputs = 0, partial = p->grad ? (p->threads - 1) * 2 * p->partial_size : 0;

	for (int i = 0; i < OUTPUTS; i++)
		outputs += p->outputs[i] ? (size_t)p->batch * net_width(p->plan->net, i) : 0;
	return (p->images_size + p->threads * thread + partial + outputs) * sizeof(float) + sums_bytes(p) +
	       (p->own ? p->own->size : 0) + p->threads * (p->arena_size + p->scratch_size);
}

void pass_masks(struct pass *p, struct masks m)
{
	p->masks = m;
}

void pass_meter(struct pass *p, struct meter *meter)
{
	p->meter = meter;
}

const float *pass_output(const struct pass *p, enum output output)
{
	return p->outputs[output];
}
