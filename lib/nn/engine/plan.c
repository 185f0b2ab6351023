/* plan.c - a net for views of one size: who reads whom, how each node's gradient comes about, what it is stored as */
#include "lib/nn/engine/engine.h"

/* Its gradient need never be stored: batch norm's sums follow from sums over each image. */
static bool may_be_pooled(const struct node *x)
{
	return x->gamma >= 0 && x->pool < 0 && !x->output;
}

static void link_reader(struct plan *plan, int i, int slot, int *parts)
{
	struct node *x = &plan->nodes[i], *in = &plan->nodes[x->in[slot]];

	if (in->op->read && x->op->raw)
		bug("a %s stores nothing that a %s could read", in->op->entry.name, x->op->entry.name);
	in->last_reader = MAX(in->last_reader, x->op->read ? x->last_reader : i);
	if (x->op->pools && may_be_pooled(in)) {
		in->pool = i;
		return;
	}
	if (x->gate >= 0 && in->gamma < 0)
		bug("a gated value needs batch norm");
	if (x->gate >= 0)
		in->gated = x->gate;
	x->first[slot] = parts[x->in[slot]]++ == 0;
}

/* The first and the last part of each gradient, in the order of the backward pass; a gradient from outside comes before all. */
static void link_parts(struct plan *plan)
{
	int parts[NODES_MAX] = { 0 }, seen[NODES_MAX] = { 0 };

	for (int i = 0; i < plan->count; i++)
		parts[i] = seen[i] = plan->nodes[i].output;
	for (int i = plan->count - 1; i > 0; i--) {
		struct node *x = &plan->nodes[i];

		for (int s = 0; s < 2 && x->in[s] >= 0; s++)
			link_reader(plan, i, s, parts);
		if (x->gate >= 0) {
			plan->nodes[x->gate].last_reader = MAX(plan->nodes[x->gate].last_reader, i);
			parts[x->gate]++;
		}
		x->stored = parts[i] > 0;
	}
	for (int i = plan->count - 1; i > 0; i--)
		for (int s = 0; s < 2 && plan->nodes[i].in[s] >= 0; s++) {
			int in = plan->nodes[i].in[s];

			if (plan->nodes[in].pool != i)
				plan->nodes[i].last[s] = ++seen[in] == parts[in];
			if (plan->nodes[in].gated >= 0 && parts[in] != 1)
				bug("a gated value has %d readers", parts[in]);
		}
}

/* Whether input s of a sum may share the sum's d: nothing is in it before, it needs no act' of its own while others still read
 * it, and what is added to it comes after the other input's last look at it. */
static bool may_share(const struct plan *plan, const struct node *sum, int s)
{
	const struct node *in = &plan->nodes[sum->in[s]];

	if (!sum->stored || !sum->first[s] || in->store != sum->store || in->output || in->gated >= 0 || in->pool >= 0 ||
	    (sum->last[s] && in->act != ACT_NONE))
		return false;
	if (s == 0)
		return sum->last[0];
	for (int i = sum->in[0]; i < plan->count; i++)
		if (&plan->nodes[i] != sum && (plan->nodes[i].in[0] == sum->in[1] || plan->nodes[i].in[1] == sum->in[1]))
			return false;
	return true;
}

static void link_shares(struct plan *plan)
{
	for (int i = 0; i < plan->count; i++)
		plan->nodes[i].share = i;
	for (int i = plan->count - 1; i > 0; i--)
		for (int s = 0; s < 2 && plan->nodes[i].op->shares; s++)
			if (may_share(plan, &plan->nodes[i], s))
				plan->nodes[plan->nodes[i].in[s]].share = plan->nodes[i].share;
}

/* Where threads meet after an operation's backward pass. */
static void link_meetings(struct plan *plan)
{
	for (int i = 1; i < plan->count; i++) {
		struct node *x = &plan->nodes[i];

		for (int s = 0; s < 2 && x->in[s] >= 0; s++)
			x->complete[s] = x->last[s] && plan->nodes[x->in[s]].gamma >= 0 && !deferred(&plan->nodes[x->in[s]]);
	}
}

static bool is_pixel(const struct node *x)
{
	return x->h * x->w == 1;
}

/* Whether a node is what the head or a predictor gives. */
static bool is_projection(const struct plan *plan, int node)
{
	bool is = false;

	for (int i = OUTPUT_HEAD; i < OUTPUTS; i++)
		is |= node == plan->outputs[i];
	return is;
}

/* One pixel an image is stored as f32, and so is what follows it. So are tokens and their sums, to which every block adds:
 * rounded each time, the error would grow with the depth. A layer norm's value is never stored and may be a bf16 factor again.
 * Products have bf16 factors only where the machine is better at them, and what a loss compares never has. */
static void link_elements(struct plan *plan)
{
	for (int i = 1; i < plan->count; i++) {
		struct node *x = &plan->nodes[i];
		bool narrow = plan->net->config.bf16 && !is_pixel(x) && !x->op->wide;

		for (int s = 0; s < 2 && x->in[s] > 0 && !x->op->read; s++)
			narrow &= plan->nodes[x->in[s]].store == BF16;
		x->store = narrow ? BF16 : F32;
		narrow |= plan->net->config.bf16 && x->op->layer && is_pixel(x) && is_pixel(&plan->nodes[x->in[0]]) &&
			  !is_projection(plan, i);
		x->factor = narrow && plan->backend[BF16] ? BF16 : F32;
	}
}

static void link_plan(struct plan *plan)
{
	for (int i = 0; i < plan->count; i++) {
		plan->nodes[i].pool = plan->nodes[i].gated = -1;
		plan->nodes[i].last_reader = i;
	}
	for (int i = 0; i < OUTPUTS; i++)
		if (plan->outputs[i] >= 0)
			plan->nodes[plan->outputs[i]].output = true;
	plan->first = 1;
	while (plan->first < plan->count && !plan->nodes[plan->first].trained)
		plan->first++;
	link_elements(plan);
	conv_link(plan);
	link_parts(plan);
	link_shares(plan);
	link_meetings(plan);
}

/* --- life --- */

struct plan *plan_new(const struct net *net, int height, int width)
{
	struct plan *plan = xcalloc(1, sizeof(*plan));

	plan->net = net;
	plan->height = height;
	plan->width = width;
	for (enum dtype e = 0; e < DTYPES; e++)
		plan->backend[e] = net->backend[e];
	plan->kernels[F32] = kernels_find(F32);
	plan->kernels[BF16] = kernels_find(BF16);
	if (build_plan(plan, NULL) < 0) {
		plan_free(plan);
		return NULL;
	}
	link_plan(plan);
	return plan;
}

void plan_free(struct plan *plan)
{
	free(plan);
}
