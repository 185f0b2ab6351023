/*
 * factors.c - weights as products want them: in other orders and precisions, made once a forward pass
 *
 * Parameters are f32 and (kh, kw, in, out). Operations that multiply by something else say how many bytes that takes and how it
 * is made; a forward pass makes it, each thread a part, before any node runs, and its backward pass uses it too.
 */
#include "lib/nn/engine/engine.h"

static size_t bytes_of(const struct plan *plan, int i, enum factor which)
{
	const struct node *x = &plan->nodes[i];

	return x->op->factor_bytes ? padded(x->op->factor_bytes(x, &plan->nodes[x->in[0]], which)) : 0;
}

/* Places of all factors, where base is not NULL; the bytes that they take. */
static size_t lay(const struct plan *plan, struct state *state, char *base, bool grad)
{
	size_t used = 0;

	for (int i = 1; i < plan_end(plan, grad); i++)
		for (enum factor f = 0; f < FACTORS; f++) {
			size_t bytes = f == FACTOR_BACKWARD && (!grad || i < plan->first) ? 0 : bytes_of(plan, i, f);

			state[i].factor[f] = base && bytes ? base + used : NULL;
			used += bytes;
		}
	return used;
}

void factors_make(const struct task *t)
{
	const struct plan *plan = t->plan;

	for (int i = 1; i < plan->count; i++)
		for (enum factor f = 0; f < FACTORS; f++) {
			const struct node *x = &plan->nodes[i];
			void *to = t->p->state[i].factor[f];

			if (to)
				x->op->factor_make(t, x, &plan->nodes[x->in[0]], f, to);
		}
}

struct factors *factors_new(const struct plan *plan, bool grad)
{
	struct factors *f = xcalloc(1, sizeof(*f));
	struct state *counted = xcalloc(plan->count, sizeof(*counted));

	f->size = lay(plan, counted, NULL, grad);
	f->base = xaligned(f->size);
	free(counted);
	return f;
}

void factors_free(struct factors *f)
{
	if (f)
		free(f->base);
	free(f);
}

void factors_renew(struct factors *f)
{
	f->fresh = false;
}

void factors_use(struct pass *p, struct factors *f)
{
	p->factors = f;
	lay(p->plan, p->state, f->base, p->grad);
}
