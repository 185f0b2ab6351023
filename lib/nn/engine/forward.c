/* forward.c - forward over the nodes, in one parallel region (walk.h) */
#include "lib/nn/engine/walk.h"

/* The value of the node at work, channels without padding. */
static void copy_output(const struct task *t, float *out)
{
	const struct node *x = t->x;
	float *to = out + t->n0 * (int64_t)x->h * x->w * x->c;

	for (int n = t->n0; n < t->n1; n++)
		for (int y = 0; y < x->h; y++) {
			value_read(t, t->id, -1, n, 1, y, y + 1, t->scratch, F32, x->w);
			for (int i = 0; i < x->w; i++, to += x->c)
				memcpy(to, (float *)t->scratch + (int64_t)i * x->ld, x->c * sizeof(float));
		}
}

static void forward_node(struct walk *w, int node)
{
	struct pass *p = w->t.p;
	const struct plan *plan = w->t.plan;

	walk_to(w, node);
	if (w->t.x->gamma >= 0)
		norm_open(w);
	if (w->t.x->op->forward)
		w->t.x->op->forward(&w->t);
	if (w->t.x->bias >= 0 && w->t.x->gamma < 0)
		norm_bias(w);
	if (w->t.x->gamma >= 0) {
		norm_meet(w);
		norm_scale(w);
		walk_spent(w, METER_NORM);
	}
	for (int i = 0; i < OUTPUTS; i++)
		if (node == plan->outputs[i])
			copy_output(&w->t, p->outputs[i]);
	walk_spent(w, METER_NODE);
}

void pass_forward(struct pass *p, const float *params, float *statistics, const uint8_t *views, int rows, enum pass_mode mode)
{
	bool make = p->factors->size && (p->own || !p->factors->fresh);

	if (rows < 1 || rows > p->batch)
		bug("forward of %d rows in a pass for %d", rows, p->batch);
	if (mode == PASS_TRAIN && !p->grad)
		bug("a pass without gradients cannot train");
	p->rows = rows;
	p->mode = mode;
	p->views = views;
	meter_open(p->meter, mode == PASS_KEY ? METER_KEY : METER_FORWARD, p->plan, rows);
#pragma omp parallel num_threads(p->threads)
	{
		struct walk w;

		walk_open(&w, p, params, statistics, NULL);
		if (make) {
			factors_make(&w.t);
			walk_spent(&w, METER_FACTORS);
#pragma omp barrier
			walk_spent(&w, METER_THREADS);
		}
		for (int i = 1; i < p->end; i++)
			forward_node(&w, i);
	}
	p->factors->fresh = true;
	meter_close(p->meter);
}
