#include "lib/nn/engine/walk.h"

#include <omp.h>

void walk_open(struct walk *w, struct pass *p, const float *params, float *statistics, float *grads)
{
	int thread = omp_get_thread_num();

	if (omp_get_num_threads() != p->threads)
		bug("%d threads where the pass was made for %d", omp_get_num_threads(), p->threads);
	w->t = (struct task){ .plan = p->plan, .p = p, .thread = thread, .n0 = (int)((int64_t)p->rows * thread / p->threads),
		.n1 = (int)((int64_t)p->rows * (thread + 1) / p->threads), .params = params, .scratch = p->scratch[thread],
		.vectors = (float *)(p->scratch[thread] + p->scratch_size) };
	w->statistics = statistics;
	w->grads = grads;
	w->meetings = w->waiting = 0;
	w->used = 0;
}

void walk_to(struct walk *w, int node)
{
	struct task *t = &w->t;

	t->id = node;
	t->x = &t->plan->nodes[node];
	t->in = &t->plan->nodes[MAX(0, t->x->in[0])];
	t->sums = norm_sums(t->p, w->meetings, t->thread);
}

void walk_spent(const struct walk *w, enum meter_row row)
{
	meter_mark(w->t.p->meter, w->t.thread, row == METER_NODE ? row + w->t.id : row);
}

/* Adds the other threads' parts of n gradients to the first's, each thread a slice. */
static void add_parts(const struct walk *w, float *grad, int64_t at, int64_t n)
{
	const struct pass *p = w->t.p;
	int64_t from = n * w->t.thread / p->threads, to = n * (w->t.thread + 1) / p->threads;

	for (int t = 1; t < p->threads; t++)
		p->plan->kernels[F32]->add(grad + from, p->partial[t] + at + from, to - from);
}

void walk_meet(struct walk *w)
{
	const struct plan *plan = w->t.plan;

	walk_spent(w, METER_NODE);
#pragma omp barrier
	walk_spent(w, METER_THREADS);
	for (int i = 0; i < w->waiting; i++) {
		const struct node *x = &plan->nodes[w->pending[i].node];

		add_parts(w, w->grads + x->weight, w->pending[i].at, x->weights);
		if (x->bias >= 0)
			add_parts(w, w->grads + x->bias, w->pending[i].at + x->weights, x->c);
	}
	w->waiting = 0;
	w->used = 0;
	w->meetings++;
	walk_spent(w, METER_PARTS);
}

void walk_gradients(struct walk *w)
{
	struct task *t = &w->t;
	struct pass *p = t->p;
	int64_t n = t->x->weights + t->x->ld;

	if (!t->x->weights)
		return;
	if (w->used + n > (int64_t)p->partial_size) {
		walk_meet(w);
		walk_to(w, t->id);
	}
	t->weight_grad = w->grads + t->x->weight;
	t->bias_grad = w->grads + t->x->bias;
	w->pending[w->waiting++] = (struct pending){ t->id, (w->meetings % 2) * p->partial_size + w->used };
	if (t->thread) {
		t->weight_grad = p->partial[t->thread] + w->pending[w->waiting - 1].at;
		t->bias_grad = t->weight_grad + t->x->weights;
		memset(t->weight_grad, 0, n * sizeof(float));
	}
	w->used += (n + LANES - 1) / LANES * LANES;
}
