/* net.c - a net: made, asked, initialised, its tensors copied in and out */
#include "lib/nn/conv/conv.h"
#include "lib/nn/model/build.h"

#include "lib/base/rng.h"

/* --- who reads whom --- */

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

static void net_link(struct net *net)
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

/* --- life --- */

static int check_config(const struct net_config *c)
{
	if (!c->arch)
		bug("a net without architecture");
	if (c->height < 1 || c->width < 1)
		return fail_code(EXIT_USAGE, "views of %dx%d pixels", c->width, c->height);
	if (strcmp(c->head, "none") && c->dim < 1)
		return fail_code(EXIT_USAGE, "a head of dimension %d", c->dim);
	if (!(c->dropout >= 0 && c->dropout < 1 && c->drop_path >= 0 && c->drop_path < 1))
		return fail_code(EXIT_USAGE, "dropout %g and drop-path %g: at least 0, below 1", c->dropout, c->drop_path);
	for (int i = 0; i < 3; i++)
		if (!(c->std[i] > 0))
			return fail_code(EXIT_USAGE, "a standard deviation of %g in the normalisation of views", c->std[i]);
	return 0;
}

static int find_backends(struct net *net)
{
	net->backend[F32] = backend_find(net->config.backend);
	if (!net->backend[F32])
		return -1;
	net->backend[BF16] = backend_narrow(net->backend[F32]);
	net->config.backend = net->backend[F32]->entry.name;
	return 0;
}

struct net *net_new(const struct net_config *c)
{
	struct net *net = xcalloc(1, sizeof(*net));

	net->config = *c;
	net->arch = c->arch;
	net->kernels[F32] = kernels_find(F32);
	net->kernels[BF16] = kernels_find(BF16);
	if (check_config(c) < 0 || find_backends(net) < 0 || build_net(net) < 0) {
		net_free(net);
		return NULL;
	}
	net_link(net);
	return net;
}

void net_free(struct net *net)
{
	if (!net)
		return;
	free(net->tensors);
	free(net->inits);
	free(net);
}

const struct net_config *net_configuration(const struct net *net)
{
	return &net->config;
}

int64_t net_params(const struct net *net)
{
	return net->params;
}

int64_t net_buffers(const struct net *net)
{
	return net->buffers;
}

int net_feature_dim(const struct net *net)
{
	const struct node *x = &net->nodes[net->feature];

	return x->h * x->w * x->c;
}

int net_tensors(const struct net *net, const struct net_tensor **list)
{
	*list = net->tensors;
	return net->tensor_count;
}

/* --- tensors --- */

void net_init(const struct net *net, uint64_t seed, float *params, float *buffers)
{
#pragma omp parallel for schedule(dynamic)
	for (int i = 0; i < net->tensor_count; i++) {
		const struct net_tensor *t = &net->tensors[i];
		const struct init *init = &net->inits[i];
		struct rng r = rng_at(seed, 0, i, 0, RNG_INIT);
		float *draw = xmalloc(t->count * sizeof(float));

		for (int64_t j = 0; j < t->count; j++)
			draw[j] = init->normal > 0 ? init->normal * rng_normal(&r)
				: init->uniform > 0 ? rng_between(&r, -init->uniform, init->uniform) : init->value;
		net_import(net, t, draw, t->buffer ? buffers : params);
		free(draw);
	}
}

/* Inside, weights are (kh, kw, in, out): a product's right factor, and a depthwise convolution's rows of channels. */
static void copy_weight(const struct net_tensor *t, const float *from, float *to, bool inward)
{
	int64_t out = t->shape[0], taps = t->rank == 4 ? t->shape[2] * t->shape[3] : 1, in = t->count / out / taps;

	for (int64_t o = 0; o < out; o++)
		for (int64_t i = 0; i < in; i++)
			for (int64_t k = 0; k < taps; k++) {
				int64_t outside = (o * in + i) * taps + k, inside = (k * in + i) * out + o;

				if (inward)
					to[inside] = from[outside];
				else
					to[outside] = from[inside];
			}
}

void net_export(const struct net *net, const struct net_tensor *t, const float *flat, float *out)
{
	(void)net;
	copy_weight(t, flat + t->offset, out, false);
}

void net_import(const struct net *net, const struct net_tensor *t, const float *in, float *flat)
{
	(void)net;
	copy_weight(t, in, flat + t->offset, true);
}
