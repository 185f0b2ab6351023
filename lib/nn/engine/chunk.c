/* chunk.c - which images and rows an operation goes through at once, and where they lie */
#include "lib/nn/engine/engine.h"

struct chunk chunk_over(const struct task *t, int h, int w, int target)
{
	int64_t image = (int64_t)h * w;
	int bands = (int)((image + target - 1) / target);

	return (struct chunk){
		.n = t->n0, .end = t->n1, .h = h, .rows = (h + bands - 1) / bands, .group = MAX(1, target / image)
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
	c->images = MIN(c->group, c->end - c->n);
	c->y1 = MIN(c->h, c->y0 + c->rows);
	return true;
}

/* --- addresses --- */

/* Where row y of image n lies in an array of the thread's arena. */
static int64_t place(const struct task *t, int node, int n, int y)
{
	const struct node *x = &t->plan->nodes[node];

	return t->thread * t->p->arena_size + ((int64_t)(n - t->n0) * x->h + y) * x->w * x->ld * element_size(x->store);
}

void *value_at(const struct task *t, int node, int n, int y)
{
	return t->p->state[node].raw + place(t, node, n, y);
}

void *gradient_at(const struct task *t, int node, int n, int y)
{
	return t->p->state[node].d + place(t, node, n, y);
}

float *norm_own(const struct task *t, float *vector)
{
	return vector + t->thread * t->p->channels;
}
