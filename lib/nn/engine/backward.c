/* backward.c - backward over the nodes, in one parallel region (walk.h) */
#include "lib/nn/engine/walk.h"

static void backward_node(struct walk *w, int node)
{
	const struct node *x;

	walk_to(w, node);
	x = w->t.x;
	if (deferred(x))
		norm_settle_deferred(w);
	walk_gradients(w);
	if (x->complete[0] || x->complete[1])
		norm_open(w);
	x->op->backward(&w->t);
	walk_spent(w, METER_NODE);
	if (x->complete[0] || x->complete[1])
		norm_meet(w);
	for (int s = 0; s < 2; s++)
		if (x->complete[s])
			norm_settle(w, x->in[s], s);
	walk_spent(w, METER_NORM);
}

/* A gradient from outside (NULL: zeros) is the first part of a node's d, and the only one where nothing inside reads the node. */
static void start_output(struct walk *w, int node, const float *from)
{
	struct task *t = &w->t;
	int64_t pixels;

	walk_to(w, node);
	norm_open(w);
	pixels = (int64_t)t->x->h * t->x->w;
	for (int n = t->n0; n < t->n1; n++) {
		char *d = gradient_at(t, node, n, 0);
		const float *row = from ? from + n * pixels * t->x->c : NULL;

		memset(d, 0, pixels * t->x->ld * element_size(t->x->store));
		for (int64_t i = 0; row && i < pixels; i++)
			t->plan->kernels[t->x->store]->narrow(element_at(d, t->x->store, i * t->x->ld), row + i * t->x->c,
							     t->x->c);
		if (t->x->last_reader == node)
			gradient_finish(t, 0, node, n, 1);
	}
	if (t->x->last_reader == node && t->x->gamma >= 0) {
		norm_meet(w);
		norm_settle(w, node, 0);
	}
}

void pass_backward(struct pass *p, const float *params, const float *const d[OUTPUTS], float *grads)
{
	const struct plan *plan = p->plan;

	if (p->mode != PASS_TRAIN)
		bug("backward without a forward pass in training mode");
	meter_open(p->meter, METER_BACKWARD, plan, p->rows);
#pragma omp parallel num_threads(p->threads)
	{
		struct walk w;

		walk_open(&w, p, params, NULL, grads);
		for (int i = 0; i < OUTPUTS; i++)
			if (plan->outputs[i] >= 0)
				start_output(&w, plan->outputs[i], d[i]);
		for (int i = plan->count - 1; i >= plan->first; i--)
			backward_node(&w, i);
		walk_meet(&w);
	}
	meter_close(p->meter);
}
