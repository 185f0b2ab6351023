/* build.c - drawing up a net: layers become nodes and named tensors */
#include "lib/nn/model/build.h"
#include "lib/nn/model/heads.h"

#include <math.h>

const char *build_name(char name[64], const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(name, 64, fmt, args);
	va_end(args);
	return name;
}

static struct node *add_node(struct builder *b, const struct op *op, int in, int h, int w, int c)
{
	struct plan *plan = b->plan;
	struct node *x;

	if (plan->count == NODES_MAX)
		bug("more than %d nodes", NODES_MAX);
	if ((h < 1 || w < 1) && !b->failed) {
		fail_code(EXIT_USAGE, "images of %dx%d are too small for '%s'", plan->width, plan->height,
			  plan->net->arch->entry.name);
		b->failed = true;
	}
	x = &plan->nodes[plan->count];
	*x = (struct node){ .op = op, .in = { in, -1 }, .gate = -1, .h = h, .w = w, .c = c, .ld = (c + LANES - 1) / LANES * LANES,
		.weight = -1, .bias = -1, .gamma = -1, .beta = -1, .mean = -1, .var = -1, .k = 1, .stride = 1 };
	b->at = plan->count++;
	return x;
}

static void lay_tensor(struct net *net, enum output output, const char *name, bool buffer, int rank, const int64_t *shape,
		       struct init init)
{
	struct net_tensor *t;

	if (net->tensor_count == net->tensor_room) {
		net->tensor_room = net->tensor_room ? 2 * net->tensor_room : 64;
		net->tensors = xrealloc(net->tensors, net->tensor_room, sizeof(*net->tensors));
		net->inits = xrealloc(net->inits, net->tensor_room, sizeof(*net->inits));
	}
	t = &net->tensors[net->tensor_count];
	*t = (struct net_tensor){ .output = output, .rank = rank, .count = 1, .buffer = buffer, .norm_or_bias = rank == 1,
				 .rate = 1 };
	format(t->name, sizeof(t->name), "%s", name);
	for (int i = 0; i < rank; i++) {
		t->shape[i] = shape[i];
		t->count *= shape[i];
	}
	t->offset = t->buffer ? net->buffers : net->params;
	*(t->buffer ? &net->buffers : &net->params) += t->count;
	net->inits[net->tensor_count++] = init;
}

/* The tensor PREFIX.SUFFIX, or SUFFIX alone, which a plan's nodes come upon in the order in which it was laid out; returns its
 * offset in its flat vector. */
static int64_t add_tensor(struct builder *b, const char *prefix, const char *suffix, int rank, const int64_t *shape,
			  struct init init)
{
	char name[TENSOR_NAME];
	const struct net_tensor *t;

	format(name, sizeof(name), "%s%s%s", prefix, *prefix ? "." : "", suffix);
	if (b->lay)
		lay_tensor(b->lay, b->output, name, strncmp(suffix, "running", 7) == 0, rank, shape, init);
	t = &b->plan->net->tensors[b->tensor];
	if (b->tensor++ == b->plan->net->tensor_count || strcmp(t->name, name) != 0)
		bug("a plan has a tensor '%s' that its net has not", name);
	b->plan->nodes[b->at].trained |= !t->buffer && !t->frozen;
	return t->offset;
}

static int64_t add_vector(struct builder *b, const char *prefix, const char *suffix, int64_t n, struct init init)
{
	return add_tensor(b, prefix, suffix, 1, &n, init);
}

static void add_norm(struct builder *b, struct node *x, const char *name, double eps)
{
	x->eps = eps;
	x->gamma = add_vector(b, name, "weight", x->c, (struct init){ .value = 1 });
	x->beta = add_vector(b, name, "bias", x->c, (struct init){ 0 });
	x->mean = add_vector(b, name, "running_mean", x->c, (struct init){ 0 });
	x->var = add_vector(b, name, "running_var", x->c, (struct init){ .value = 1 });
	x->fixed = b->plan->net->tensors[b->tensor - 1].frozen;
}

static int window(int size, int k, int stride, int pad)
{
	return size + 2 * pad < k ? 0 : (size + 2 * pad - k) / stride + 1;
}

/* Kaiming, fan-out, where PyTorch counts all outputs of a depthwise convolution too; or PyTorch's own default. */
static struct init conv_init(const struct builder *b, const int64_t *shape)
{
	double taps = (double)shape[2] * shape[3];

	if (b->plan->net->arch->init == INIT_VIT || b->plan->net->arch->init == INIT_DEFAULT)
		return (struct init){ .uniform = 1 / sqrt(shape[1] * taps) };
	return (struct init){ .normal = sqrt(2 / (shape[0] * taps)) };
}

void build_conv(struct builder *b, const struct conv_spec *s)
{
	const struct node *in = &b->plan->nodes[b->at];
	int out = s->depthwise ? in->c : s->out, gate = b->gate;
	bool amx = b->plan->net->config.bf16 && amx_of(b->plan);   /* which is better at first layers too */
	const struct op *op = s->depthwise ? &op_depthwise : is_view(in) && s->k == STEM_SIDE && !amx ? &op_stem : &op_conv;
	struct node *x = add_node(b, op, b->at, window(in->h, s->k, s->stride, s->pad), window(in->w, s->k, s->stride, s->pad),
				  out);
	int64_t shape[4] = { out, s->depthwise ? 1 : in->c, s->k, s->k };

	if (gate >= 0 && s->depthwise)
		bug("'%s': a gate needs a dense convolution after it", s->conv);
	if (s->k > (s->depthwise ? 7 : KERNEL_MAX))
		bug("'%s': kernels go up to %dx%d, depthwise ones to 7x7", s->conv, KERNEL_MAX, KERNEL_MAX);
	x->k = s->k;
	x->stride = s->stride;
	x->pad = s->pad;
	x->act = s->act;
	x->gate = gate;
	b->gate = -1;
	x->weights = out * shape[1] * s->k * s->k;
	x->weight = add_tensor(b, s->conv, "weight", 4, shape, conv_init(b, shape));
	if (s->norm)
		add_norm(b, x, s->norm, b->plan->net->arch->bn_eps);
	else
		x->bias = add_vector(b, s->conv, "bias", out, (struct init){ .uniform = conv_init(b, shape).uniform });
}

/* bias: NULL: it has none. */
static void add_linear(struct builder *b, int out, enum act act, const char *name, struct init weight, const struct init *bias)
{
	const struct node *in = &b->plan->nodes[b->at];
	struct node *x = add_node(b, &op_conv, b->at, in->h, in->w, out);

	if (b->gate >= 0)
		bug("'%s': a linear layer reads features without a gate", name);
	x->act = act;
	x->weights = (int64_t)out * in->c;
	x->weight = add_tensor(b, name, "weight", 2, (int64_t[]){ out, in->c }, weight);
	if (bias)
		x->bias = add_vector(b, name, "bias", out, *bias);
}

void build_linear(struct builder *b, int out, enum act act, bool bias, const char *name)
{
	enum init_rule rule = b->plan->net->arch->init;
	struct init uniform = { .uniform = 1 / sqrt(b->plan->nodes[b->at].c) }, zero = { 0 };
	bool normal = rule == INIT_NORMAL || rule == INIT_VIT;

	add_linear(b, out, act, name, normal ? (struct init){ .normal = rule == INIT_VIT ? 0.02 : 0.01 } : uniform,
		   !bias ? NULL : normal ? &zero : &uniform);
}

void build_maxpool(struct builder *b, int k, int stride, int pad)
{
	const struct node *in = &b->plan->nodes[b->at];
	struct node *x = add_node(b, &op_maxpool, b->at, window(in->h, k, stride, pad), window(in->w, k, stride, pad), in->c);

	x->k = k;
	x->stride = stride;
	x->pad = pad;
}

void build_meanpool(struct builder *b)
{
	add_node(b, &op_meanpool, b->at, 1, 1, b->plan->nodes[b->at].c);
}

void build_squeeze(struct builder *b, int width, enum act inner, enum act outer, const char *first, const char *second)
{
	int from = b->at, c = b->plan->nodes[from].c;

	build_meanpool(b);
	build_conv(b, &(struct conv_spec){ .out = width, .k = 1, .stride = 1, .act = inner, .conv = first });
	build_conv(b, &(struct conv_spec){ .out = c, .k = 1, .stride = 1, .act = outer, .conv = second });
	b->gate = b->at;
	b->at = from;
}

static void add_drop(struct builder *b, double p, bool by_image)
{
	const struct node *in = &b->plan->nodes[b->at];
	struct node *x;

	if (b->gate >= 0)
		bug("dropout of a gated value");
	if (!(p > 0))
		return;
	x = add_node(b, &op_drop, b->at, in->h, in->w, in->c);
	x->drop = p;
	x->by_image = by_image;
}

void build_dropout(struct builder *b)
{
	add_drop(b, b->plan->net->config.dropout, false);
}

void build_drop_path(struct builder *b, double depth)
{
	add_drop(b, b->plan->net->config.drop_path * depth, true);
}

void build_sum(struct builder *b, int other, enum act act)
{
	const struct node *a = &b->plan->nodes[b->at], *o = &b->plan->nodes[other];
	int at = b->at;
	struct node *x;

	if (a->h != o->h || a->w != o->w || a->c != o->c)
		bug("sum of %dx%dx%d and %dx%dx%d", a->h, a->w, a->c, o->h, o->w, o->c);
	x = add_node(b, &op_sum, at, a->h, a->w, a->c);
	x->in[1] = other;
	x->act = act;
}

void build_shuffle(struct builder *b, int other)
{
	const struct node *a = &b->plan->nodes[b->at], *o = &b->plan->nodes[other];
	int at = b->at;

	if (a->h != o->h || a->w != o->w || a->c != o->c)
		bug("shuffle of %dx%dx%d and %dx%dx%d", a->h, a->w, a->c, o->h, o->w, o->c);
	add_node(b, &op_shuffle, at, a->h, a->w, 2 * a->c)->in[1] = other;
}

void build_slice(struct builder *b, int from, int count)
{
	const struct node *in = &b->plan->nodes[b->at];

	if (b->gate >= 0 || from < 0 || from + count > in->c)
		bug("channels %d to %d of %d", from, from + count, in->c);
	add_node(b, &op_slice, b->at, in->h, in->w, count)->from = from;
}

void build_tokens(struct builder *b, const char *cls, const char *position)
{
	const struct node *in = &b->plan->nodes[b->at];
	struct node *x = add_node(b, &op_tokens, b->at, 1, in->h * in->w + 1, in->c);
	bool plain = b->plan->net->arch->init == INIT_DEFAULT;
	const struct net_tensor *laid;

	x->weight = add_tensor(b, "", cls, 3, (int64_t[]){ 1, 1, x->c }, (struct init){ .normal = plain ? 1 : 1e-6 });
	add_tensor(b, "", position, 3, (int64_t[]){ 1, x->w, x->c }, (struct init){ .normal = plain ? 1 : 0.02 });
	for (int i = 1; i <= 2 && b->lay; i++)
		b->lay->tensors[b->tensor - i].norm_or_bias = true;   /* as DeiT's code: neither decays */
	if (b->lay)
		memcpy(b->lay->tensors[b->tensor - 1].grid, (int[]){ in->h, in->w }, 2 * sizeof(int));
	laid = &b->plan->net->tensors[b->tensor - 1];
	memcpy(x->grid, laid->grid, sizeof(x->grid));
	x->weights = x->c + laid->count;
}

void build_token(struct builder *b)
{
	add_node(b, &op_token, b->at, 1, 1, b->plan->nodes[b->at].c);
}

void build_layernorm(struct builder *b, const char *name)
{
	const struct node *in = &b->plan->nodes[b->at];
	struct node *x = add_node(b, &op_layernorm, b->at, in->h, in->w, in->c);

	if (b->plan->nodes[x->in[0]].op->read)
		bug("'%s': a layer norm reads what is stored", name);
	x->eps = b->plan->net->arch->bn_eps;
	x->weights = x->c;
	x->weight = add_vector(b, name, "weight", x->c, (struct init){ .value = 1 });
	x->bias = add_vector(b, name, "bias", x->c, (struct init){ 0 });
}

void build_attention(struct builder *b, int heads, int queries)
{
	const struct node *in = &b->plan->nodes[b->at];
	bool all = queries == in->h * in->w;
	struct node *x = add_node(b, &op_attention, b->at, all ? in->h : 1, all ? in->w : queries, in->c / 3);

	if (in->c % (3 * heads) || queries > in->h * in->w)
		bug("attention of %d heads and %d queries to %d channels", heads, queries, in->c);
	x->heads = heads;
}

/* One layer of a head under PREFIX.AT; norms and activations are the node's before. */
static void head_layer(struct builder *b, const struct head_layer *l, const char *prefix, int at)
{
	struct init uniform = { .uniform = 1 / sqrt(b->plan->nodes[b->at].c) };
	struct node *x = &b->plan->nodes[b->at];
	const char *name = NAME("%s.%d", prefix, at);

	if (l->kind == HEAD_LINEAR)
		add_linear(b, l->width, ACT_NONE, name, uniform, &uniform);
	else if (l->kind == HEAD_NORM)
		add_norm(b, x, name, 1e-5);   /* PyTorch's */
	else if (l->kind == HEAD_DROP)
		add_drop(b, l->p, false);
	else
		x->act = l->kind == HEAD_RELU ? ACT_RELU : ACT_GELU;
}

/* The layers of an output behind the node at hand, which they leave the output's; text: what they are, dim: the width where that
 * is a name's. 0 or -1. */
static int build_layers(struct builder *b, enum output output, const char *kind, const char *prefix, const char *text, int dim)
{
	const struct node *in = &b->plan->nodes[b->at];
	struct head h;

	if (head_parse(&h, kind, text, in->c, dim) < 0)
		return -1;
	if (h.count && in->h * in->w != 1)
		return fail_code(EXIT_USAGE, "'%s' has no pooled feature for a %s", b->plan->net->arch->entry.name, kind);
	b->output = output;
	for (int i = 0; i < h.count; i++)
		head_layer(b, &h.layers[i], prefix, i);
	b->plan->outputs[output] = h.count ? b->at : -1;
	return 0;
}

static int build_predictors(struct builder *b)
{
	const struct predictors *p = &b->plan->net->predictors;
	int head = b->at;

	for (int i = 0; i < p->count; i++) {
		const char *word = p->list[i].word, *prefix = *word ? NAME("predictor.%s", word) : "predictor";

		b->at = head;
		if (build_layers(b, OUTPUT_PREDICTOR + i, "predictor", prefix, p->list[i].layers, b->plan->nodes[head].c) < 0)
			return -1;
	}
	return 0;
}

/* A wish that the architecture has no place for is refused. */
static int check_drops(const struct plan *plan)
{
	const struct net_config *c = &plan->net->config;
	bool has[2] = { false, false };

	for (int i = 0; i < plan->count; i++)
		if (plan->nodes[i].op == &op_drop)
			has[plan->nodes[i].by_image] = true;
	if (c->dropout > 0 && !has[0])
		return fail_code(EXIT_USAGE, "'%s' has no dropout", c->arch->entry.name);
	if (c->drop_path > 0 && !has[1])
		return fail_code(EXIT_USAGE, "'%s' has no stochastic depth", c->arch->entry.name);
	return 0;
}

/* What a new net is told of itself; the caller's texts may not live as long. */
static void describe(struct net *net, const struct plan *plan)
{
	struct net_config *c = &net->config;

	for (int i = 0; i < OUTPUTS; i++) {
		const struct node *x = &plan->nodes[MAX(0, plan->outputs[i])];

		net->width[i] = plan->outputs[i] >= 0 ? x->h * x->w * x->c : 0;
	}
	if (net->width[OUTPUT_HEAD])
		c->dim = net->width[OUTPUT_HEAD];
	format(net->head, sizeof(net->head), "%s", c->head);
	format(net->predictor, sizeof(net->predictor), "%s", c->predictor ? c->predictor : "none");
	c->head = net->head;
	c->predictor = net->predictor;
}

int build_plan(struct plan *plan, struct net *lay)
{
	const struct net_config *c = &plan->net->config;
	struct builder b = { .plan = plan, .lay = lay, .gate = -1 };

	if (plan->height < 1 || plan->width < 1)
		return fail_code(EXIT_USAGE, "views of %dx%d pixels", plan->width, plan->height);
	add_node(&b, &op_view, -1, plan->height, plan->width, 3)->ld = 3;
	build_arch(&b);
	if (b.failed || check_drops(plan) < 0)
		return -1;
	if (b.gate >= 0)
		bug("'%s' ends with a gate", c->arch->entry.name);
	for (int i = 0; i < OUTPUTS; i++)
		plan->outputs[i] = -1;
	plan->outputs[OUTPUT_FEATURE] = b.at;
	if (build_layers(&b, OUTPUT_HEAD, "head", "head", c->head, c->dim) < 0 || build_predictors(&b) < 0)
		return -1;
	if (lay)
		describe(lay, plan);
	return 0;
}
