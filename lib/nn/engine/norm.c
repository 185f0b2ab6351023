/*
 * norm.c - batch norm (Ioffe and Szegedy 2015): column sums, scale and shift, gradients (engine.h has the formulas)
 *
 * Whoever stores rows of a normalised node, or completes its gradient, adds their column sums here while they are hot. After
 * the threads have met, the sums give scale and shift of the value, or the coefficients of the gradient. The batch's statistics
 * are handed out; the running ones are not this room's (statistics.h).
 */
#include "lib/nn/engine/walk.h"

#include <math.h>

enum { FEW = 8 };   /* threads that add up everything sooner than they meet */

/* --- column sums: of each thread two slots (which input's) of two rows of ldmax --- */

size_t norm_stride(const struct pass *p)
{
	return (size_t)2 * 2 * p->ldmax;
}

double *norm_sums(const struct pass *p, int meeting, int thread)
{
	return p->sums + ((size_t)(meeting % 2) * p->threads + thread) * norm_stride(p);
}

static double *slot_of(const struct pass *p, double *sums, int slot)
{
	return sums + (size_t)slot * 2 * p->ldmax;
}

void norm_add_rows(const struct task *t, int64_t rows, const float *origin, const float *sum, const float *squares)
{
	const struct node *x = t->x;
	double *out = slot_of(t->p, t->sums, 0);

	for (int c = 0; c < x->c; c++) {
		double mean = origin[c] + sum[c] / (double)rows, m2 = squares[c] - sum[c] * (double)sum[c] / rows;

		out[c] += mean * rows;
		out[x->ld + c] += m2 + mean * mean * rows;
	}
}

void norm_add_gradient(const struct task *t, int slot, const struct node *x, const float *sum, const float *dots)
{
	double *out = slot_of(t->p, t->sums, slot);

	for (int c = 0; c < x->c; c++) {
		out[c] += sum[c];
		out[x->ld + c] += dots[c];
	}
}

/* Column sums of dz and dz*xhat over image n of the node at work, gated or pooled. */
static void add_image(const struct task *t, int n)
{
	const struct node *x = t->x;
	const struct state *s = &t->p->state[t->id];
	const float *d = x->gated >= 0 ? s->images + (int64_t)n * 2 * x->ld : NULL;
	const float *slopes = x->pool >= 0 ? s->slopes + (int64_t)n * 2 * x->ld : NULL;
	float *gate = t->vectors, *pooled = gate + x->ld;
	double *out = slot_of(t->p, t->sums, 0);

	gradient_image(t, n, gate, pooled);
	for (int i = 0; i < 2; i++)
		for (int c = 0; c < x->c; c++)
			out[i * x->ld + c] += (d ? (double)gate[c] * d[i * x->ld + c] : 0) +
					      (slopes ? (double)pooled[c] * slopes[i * x->ld + c] : 0);
}

void norm_open(const struct walk *w)
{
	memset(w->t.sums, 0, norm_stride(w->t.p) * sizeof(double));
}

/* Of many threads each adds up a slice of the columns into the first one's. */
void norm_meet(struct walk *w)
{
	const struct pass *p = w->t.p;
	size_t stride = norm_stride(p), from = stride * w->t.thread / p->threads, to = stride * (w->t.thread + 1) / p->threads;
	double *first = norm_sums(p, w->meetings, 0);

	walk_meet(w);
	if (p->threads <= FEW)
		return;
	for (int t = 1; t < p->threads; t++)
		for (size_t i = from; i < to; i++)
			first[i] += first[t * stride + i];
#pragma omp barrier
	walk_spent(w, METER_THREADS);
}

/* Sum over threads, in their order, of what they wrote before the last norm_meet(). */
static double total(const struct walk *w, int slot, int at)
{
	const struct pass *p = w->t.p;
	double s = 0;

	for (int t = 0; t < (p->threads > FEW ? 1 : p->threads); t++)
		s += slot_of(p, norm_sums(p, w->meetings - 1, t), slot)[at];
	return s;
}

static double pixels_of(const struct pass *p, const struct node *x)
{
	return (double)((int64_t)p->rows * x->h * x->w);
}

/* --- scale and shift --- */

struct affine norm_affine(const struct task *t, int node)
{
	const struct state *s = &t->p->state[node];

	if (!s->scale)
		return (struct affine){ 0 };
	return (struct affine){ norm_own(t, s->scale), norm_own(t, s->shift), s->xscale ? norm_own(t, s->xscale) : NULL,
		s->xshift ? norm_own(t, s->xshift) : NULL };
}

static void set_channel(const struct walk *w, int c, double mean, double istd)
{
	const struct node *x = w->t.x;
	const struct state *s = &w->t.p->state[w->t.id];
	float gamma = w->t.params[x->gamma + c], beta = w->t.params[x->beta + c];

	norm_own(&w->t, s->scale)[c] = (float)(gamma * istd);
	norm_own(&w->t, s->shift)[c] = (float)(beta - gamma * mean * istd);
	norm_own(&w->t, s->xscale)[c] = (float)istd;
	norm_own(&w->t, s->xshift)[c] = (float)(-mean * istd);
}

/* A bias before batch norm moves the mean, and nothing else. */
static float bias_of(const struct walk *w, int c)
{
	return w->t.x->bias >= 0 ? w->t.params[w->t.x->bias + c] : 0;
}

/* Variances are handed out unbiased, as PyTorch's running ones are. */
static void from_batch(const struct walk *w)
{
	const struct node *x = w->t.x;
	double n = pixels_of(w->t.p, x);

	for (int c = 0; c < x->c; c++) {
		double mean = total(w, 0, c) / n, var = fmax(0, total(w, 0, x->ld + c) / n - mean * mean);

		set_channel(w, c, mean, 1 / sqrt(var + w->t.x->eps));
		if (w->statistics && w->t.thread == 0) {
			w->statistics[x->mean + c] = (float)(mean + bias_of(w, c));
			w->statistics[x->var + c] = (float)(var * n / fmax(1, n - 1));
		}
	}
}

static void from_statistics(const struct walk *w)
{
	const struct node *x = w->t.x;

	for (int c = 0; c < x->c; c++)
		set_channel(w, c, w->statistics[x->mean + c] - bias_of(w, c), 1 / sqrt(w->statistics[x->var + c] + w->t.x->eps));
}

void norm_scale(const struct walk *w)
{
	if (w->t.p->mode == PASS_EVAL || w->t.x->fixed)
		from_statistics(w);
	else
		from_batch(w);
}

void norm_bias(const struct walk *w)
{
	const struct node *x = w->t.x;
	const struct state *s = &w->t.p->state[w->t.id];

	for (int c = 0; c < x->c; c++) {
		norm_own(&w->t, s->scale)[c] = 1;
		norm_own(&w->t, s->shift)[c] = w->t.params[x->bias + c];
	}
}

/* --- gradients --- */

void norm_settle(const struct walk *w, int node, int slot)
{
	const struct node *x = &w->t.plan->nodes[node];
	const struct state *s = &w->t.p->state[node];
	double n = pixels_of(w->t.p, x);
	float *out = norm_own(&w->t, s->c);

	for (int c = 0; c < x->c; c++) {
		double dz = total(w, slot, c), dots = total(w, slot, x->ld + c), istd = norm_own(&w->t, s->xscale)[c];
		double scale = w->t.params[x->gamma + c] * istd;

		out[c] = (float)scale;
		out[x->ld + c] = x->fixed ? 0 : (float)(-scale * istd * dots / n);
		out[2 * x->ld + c] = x->fixed ? 0 : (float)(-scale * (dz + norm_own(&w->t, s->xshift)[c] * dots) / n);
		if (w->t.thread == 0 && !x->fixed) {
			w->grads[x->beta + c] += (float)dz;
			w->grads[x->gamma + c] += (float)dots;
		}
	}
}

void norm_settle_deferred(struct walk *w)
{
	norm_open(w);
	for (int n = w->t.n0; n < w->t.n1; n++)
		add_image(&w->t, n);
	norm_meet(w);
	norm_settle(w, w->t.id, 0);
	walk_spent(w, METER_NORM);
	walk_to(w, w->t.id);
}
