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
			t->net->kernels[t->x->store]->narrow(element_at(d, t->x->store, i * t->x->ld), row + i * t->x->c,
							     t->x->c);
		if (t->x->last_reader == node)
			gradient_finish(t, 0, node, n, 1);
	}
	if (t->x->last_reader == node && t->x->gamma >= 0) {
		norm_meet(w);
		norm_settle(w, node, 0);
	}
}

void net_backward(const struct net *net, struct pass *p, const float *params, const float *d_feature, const float *d_head,
		  float *grads)
{
	if (p->mode != NET_TRAIN || p->net != net)
		bug("backward without a forward pass in training mode");
	meter_open(p->meter, METER_BACKWARD, p->rows);
#pragma omp parallel num_threads(p->threads)
	{
		struct walk w;

		walk_open(&w, p, params, NULL, grads);
		start_output(&w, net->feature, d_feature);
		if (net->head >= 0)
			start_output(&w, net->head, d_head);
		for (int i = net->count - 1; i > 0; i--)
			backward_node(&w, i);
		walk_meet(&w);
	}
	meter_close(p->meter);
}
