/* network.c - a net: made, asked, initialised, its tensors copied in and out */
#include "lib/nn/engine/engine.h"

#include "lib/base/rng.h"

/* --- life --- */

static int check_config(const struct net_config *c)
{
	if (!c->arch)
		bug("a net without architecture");
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

/* Tensors come about as the nodes of a plan do. */
static int lay_out(struct net *net)
{
	struct plan *plan = xcalloc(1, sizeof(*plan));
	int r;

	plan->net = net;
	plan->height = net->config.height;
	plan->width = net->config.width;
	r = build_plan(plan, net);
	plan_free(plan);
	return r;
}

struct net *net_new(const struct net_config *c)
{
	struct net *net = xcalloc(1, sizeof(*net));

	net->config = *c;
	net->arch = c->arch;
	if (check_config(c) < 0 || predictors_parse(&net->predictors, c->predictor ? c->predictor : "none") < 0 ||
	    find_backends(net) < 0 || lay_out(net) < 0 || freeze_tensors(net) < 0 || freeze_rates(net) < 0) {
		net_free(net);
		return NULL;
	}
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

int net_width(const struct net *net, enum output output)
{
	return net->width[output];
}

enum output net_predictor(const struct net *net, const char *word)
{
	for (int i = 0; i < net->predictors.count; i++)
		if (strcmp(net->predictors.list[i].word, word) == 0)
			return OUTPUT_PREDICTOR + i;
	return 0;
}

const char *net_word(const struct net *net, enum output predictor)
{
	return net->predictors.list[predictor - OUTPUT_PREDICTOR].word;
}

int net_tensors(const struct net *net, const struct net_tensor **list)
{
	if (list)
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
