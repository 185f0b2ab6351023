/* wiring.c - who reads whom: how each node's gradient comes about, what it is stored as, where threads meet */
#include "lib/nn/engine/engine.h"

/* Its gradient need never be stored: batch norm's sums follow from sums over each image. */
static bool may_be_pooled(const struct node *x)
{
	return x->gamma >= 0 && x->pool < 0 && !x->output;
}

static void link_reader(struct net *net, int i, int slot, int *parts)
{
	struct node *x = &net->nodes[i], *in = &net->nodes[x->in[slot]];

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
static void link_parts(struct net *net)
{
	int parts[NODES_MAX] = { 0 }, seen[NODES_MAX] = { 0 };

	for (int i = 0; i < net->count; i++)
		parts[i] = seen[i] = net->nodes[i].output;
	for (int i = net->count - 1; i > 0; i--) {
		struct node *x = &net->nodes[i];

		for (int s = 0; s < 2 && x->in[s] >= 0; s++)
			link_reader(net, i, s, parts);
		if (x->gate >= 0) {
			net->nodes[x->gate].last_reader = MAX(net->nodes[x->gate].last_reader, i);
			parts[x->gate]++;
		}
		x->stored = parts[i] > 0;
	}
	for (int i = net->count - 1; i > 0; i--)
		for (int s = 0; s < 2 && net->nodes[i].in[s] >= 0; s++) {
			int in = net->nodes[i].in[s];

			if (net->nodes[in].pool != i)
				net->nodes[i].last[s] = ++seen[in] == parts[in];
			if (net->nodes[in].gated >= 0 && parts[in] != 1)
				bug("a gated value has %d readers", parts[in]);
		}
}

/* Whether input s of a sum may share the sum's d: nothing is in it before, it needs no act' of its own while others still read
 * it, and what is added to it comes after the other input's last look at it. */
static bool may_share(const struct net *net, const struct node *sum, int s)
{
	const struct node *in = &net->nodes[sum->in[s]];

	if (!sum->stored || !sum->first[s] || in->store != sum->store || in->output || in->gated >= 0 || in->pool >= 0 ||
	    (sum->last[s] && in->act != ACT_NONE))
		return false;
	if (s == 0)
		return sum->last[0];
	for (int i = sum->in[0]; i < net->count; i++)
		if (&net->nodes[i] != sum && (net->nodes[i].in[0] == sum->in[1] || net->nodes[i].in[1] == sum->in[1]))
			return false;
	return true;
}

static void link_shares(struct net *net)
{
	for (int i = 0; i < net->count; i++)
		net->nodes[i].share = i;
	for (int i = net->count - 1; i > 0; i--)
		for (int s = 0; s < 2 && net->nodes[i].op->shares; s++)
			if (may_share(net, &net->nodes[i], s))
				net->nodes[net->nodes[i].in[s]].share = net->nodes[i].share;
}

/* Where threads meet after an operation's backward pass. */
static void link_meetings(struct net *net)
{
	for (int i = 1; i < net->count; i++) {
		struct node *x = &net->nodes[i];

		for (int s = 0; s < 2 && x->in[s] >= 0; s++)
			x->complete[s] = x->last[s] && net->nodes[x->in[s]].gamma >= 0 && !deferred(&net->nodes[x->in[s]]);
	}
}

static bool is_pixel(const struct node *x)
{
	return x->h * x->w == 1;
}

/* One pixel an image is stored as f32, and so is what follows it. So are tokens and their sums, to which every block adds:
 * rounded each time, the error would grow with the depth. A layer norm's value is never stored and may be a bf16 factor again.
 * Products have bf16 factors only where the machine is better at them, and the head's output never has. */
static void link_elements(struct net *net)
{
	for (int i = 1; i < net->count; i++) {
		struct node *x = &net->nodes[i];
		bool narrow = net->config.bf16 && !is_pixel(x) && !x->op->wide;

		for (int s = 0; s < 2 && x->in[s] > 0 && !x->op->read; s++)
			narrow &= net->nodes[x->in[s]].store == BF16;
		x->store = narrow ? BF16 : F32;
		narrow |= net->config.bf16 && x->op->layer && is_pixel(x) && is_pixel(&net->nodes[x->in[0]]) && i != net->head;
		x->factor = narrow && net->backend[BF16] ? BF16 : F32;
	}
}

void net_link(struct net *net)
{
	for (int i = 0; i < net->count; i++) {
		net->nodes[i].pool = net->nodes[i].gated = -1;
		net->nodes[i].last_reader = i;
	}
	net->nodes[net->feature].output = true;
	if (net->head >= 0)
		net->nodes[net->head].output = true;
	link_elements(net);
	conv_link(net);
	link_parts(net);
	link_shares(net);
	link_meetings(net);
}
