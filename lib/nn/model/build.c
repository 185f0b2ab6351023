/* build.c - drawing up a net: layers become nodes and named tensors */
#include "lib/nn/model/build.h"
#include "lib/nn/model/heads.h"

#include <math.h>

static struct node *add_node(struct builder *b, const struct op *op, int in, int h, int w, int c)
{
	struct net *net = b->net;
	struct node *x;

	if (net->count == NODES_MAX)
		bug("more than %d nodes", NODES_MAX);
	if ((h < 1 || w < 1) && !b->failed) {
		fail_code(EXIT_USAGE, "images of %dx%d are too small for '%s'", net->config.width, net->config.height,
			  net->arch->entry.name);
		b->failed = true;
	}
	x = &net->nodes[net->count];
	*x = (struct node){ .op = op, .in = { in, -1 }, .gate = -1, .h = h, .w = w, .c = c, .ld = (c + LANES - 1) / LANES * LANES,
		.weight = -1, .bias = -1, .gamma = -1, .beta = -1, .mean = -1, .var = -1, .k = 1, .stride = 1 };
	b->at = net->count++;
	return x;
}

/* Adds a tensor PREFIX.SUFFIX, or SUFFIX alone, and returns its offset in its flat vector. */
static int64_t add_tensor(struct builder *b, const char *prefix, const char *suffix, int rank, const int64_t *shape,
			  struct init init)
{
	struct net *net = b->net;
	struct net_tensor *t;

	if (net->tensor_count == net->tensor_room) {
		net->tensor_room = net->tensor_room ? 2 * net->tensor_room : 64;
		net->tensors = xrealloc(net->tensors, net->tensor_room, sizeof(*net->tensors));
		net->inits = xrealloc(net->inits, net->tensor_room, sizeof(*net->inits));
	}
	t = &net->tensors[net->tensor_count];
	*t = (struct net_tensor){ .rank = rank, .count = 1, .buffer = !strncmp(suffix, "running", 7), .norm_or_bias = rank == 1 };
	format(t->name, sizeof(t->name), "%s%s%s", prefix, *prefix ? "." : "", suffix);
	for (int i = 0; i < rank; i++) {
		t->shape[i] = shape[i];
		t->count *= shape[i];
	}
	t->offset = t->buffer ? net->buffers : net->params;
	*(t->buffer ? &net->buffers : &net->params) += t->count;
	net->inits[net->tensor_count++] = init;
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
}

static int window(int size, int k, int stride, int pad)
{
	return size + 2 * pad < k ? 0 : (size + 2 * pad - k) / stride + 1;
}

/* Kaiming, fan-out, where PyTorch counts all outputs of a depthwise convolution too; or PyTorch's own default. */
static struct init conv_init(const struct builder *b, const int64_t *shape)
{
	double taps = (double)shape[2] * shape[3];

	if (b->net->arch->init == INIT_VIT || b->net->arch->init == INIT_DEFAULT)
		return (struct init){ .uniform = 1 / sqrt(shape[1] * taps) };
	return (struct init){ .normal = sqrt(2 / (shape[0] * taps)) };
}

void build_conv(struct builder *b, const struct conv_spec *s)
{
	const struct node *in = &b->net->nodes[b->at];
	int out = s->depthwise ? in->c : s->out, gate = b->gate;
	bool amx = b->net->config.bf16 && amx_of(b->net);   /* which is better at first layers too */
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
		add_norm(b, x, s->norm, b->net->arch->bn_eps);
	else
		x->bias = add_vector(b, s->conv, "bias", out, (struct init){ .uniform = conv_init(b, shape).uniform });
}

static void add_linear(struct builder *b, int out, enum act act, const char *name, struct init weight, struct init bias)
{
	const struct node *in = &b->net->nodes[b->at];
	struct node *x = add_node(b, &op_conv, b->at, in->h, in->w, out);

	if (b->gate >= 0)
		bug("'%s': a linear layer reads features without a gate", name);
	x->act = act;
	x->weights = (int64_t)out * in->c;
	x->weight = add_tensor(b, name, "weight", 2, (int64_t[]){ out, in->c }, weight);
	x->bias = add_vector(b, name, "bias", out, bias);
}

void build_linear(struct builder *b, int out, enum act act, const char *name)
{
	struct init uniform = { .uniform = 1 / sqrt(b->net->nodes[b->at].c) };

	if (b->net->arch->init == INIT_NORMAL)
		add_linear(b, out, act, name, (struct init){ .normal = 0.01 }, (struct init){ 0 });
	else if (b->net->arch->init == INIT_VIT)
		add_linear(b, out, act, name, (struct init){ .normal = 0.02 }, (struct init){ 0 });
	else
		add_linear(b, out, act, name, uniform, uniform);
}

void build_maxpool(struct builder *b, int k, int stride, int pad)
{
	const struct node *in = &b->net->nodes[b->at];
	struct node *x = add_node(b, &op_maxpool, b->at, window(in->h, k, stride, pad), window(in->w, k, stride, pad), in->c);

	x->k = k;
	x->stride = stride;
	x->pad = pad;
}

void build_meanpool(struct builder *b)
{
	add_node(b, &op_meanpool, b->at, 1, 1, b->net->nodes[b->at].c);
}

void build_squeeze(struct builder *b, int width, enum act inner, enum act outer, const char *first, const char *second)
{
	int from = b->at, c = b->net->nodes[from].c;

	build_meanpool(b);
	build_conv(b, &(struct conv_spec){ .out = width, .k = 1, .stride = 1, .act = inner, .conv = first });
	build_conv(b, &(struct conv_spec){ .out = c, .k = 1, .stride = 1, .act = outer, .conv = second });
	b->gate = b->at;
	b->at = from;
}

static void add_drop(struct builder *b, double p, bool by_image)
{
	const struct node *in = &b->net->nodes[b->at];
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
	add_drop(b, b->net->config.dropout, false);
}

void build_drop_path(struct builder *b, double depth)
{
	add_drop(b, b->net->config.drop_path * depth, true);
}

void build_sum(struct builder *b, int other, enum act act)
{
	const struct node *a = &b->net->nodes[b->at], *o = &b->net->nodes[other];
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
	const struct node *a = &b->net->nodes[b->at], *o = &b->net->nodes[other];
	int at = b->at;

	if (a->h != o->h || a->w != o->w || a->c != o->c)
		bug("shuffle of %dx%dx%d and %dx%dx%d", a->h, a->w, a->c, o->h, o->w, o->c);
	add_node(b, &op_shuffle, at, a->h, a->w, 2 * a->c)->in[1] = other;
}

void build_slice(struct builder *b, int from, int count)
{
	const struct node *in = &b->net->nodes[b->at];

	if (b->gate >= 0 || from < 0 || from + count > in->c)
		bug("channels %d to %d of %d", from, from + count, in->c);
	add_node(b, &op_slice, b->at, in->h, in->w, count)->from = from;
}

void build_tokens(struct builder *b, const char *cls, const char *position)
{
	const struct node *in = &b->net->nodes[b->at];
	struct node *x = add_node(b, &op_tokens, b->at, 1, in->h * in->w + 1, in->c);

	x->weights = (int64_t)(1 + x->w) * x->c;
	x->weight = add_tensor(b, "", cls, 3, (int64_t[]){ 1, 1, x->c }, (struct init){ .normal = 1e-6 });
	add_tensor(b, "", position, 3, (int64_t[]){ 1, x->w, x->c }, (struct init){ .normal = 0.02 });
	memcpy(b->net->tensors[b->net->tensor_count - 1].grid, (int[]){ in->h, in->w }, 2 * sizeof(int));
	for (int i = 1; i <= 2; i++)
		b->net->tensors[b->net->tensor_count - i].norm_or_bias = true;   /* as DeiT's code: neither decays */
}

void build_token(struct builder *b)
{
	add_node(b, &op_token, b->at, 1, 1, b->net->nodes[b->at].c);
}

void build_layernorm(struct builder *b, const char *name)
{
	const struct node *in = &b->net->nodes[b->at];
	struct node *x = add_node(b, &op_layernorm, b->at, in->h, in->w, in->c);

	if (b->net->nodes[x->in[0]].op->read)
		bug("'%s': a layer norm reads what is stored", name);
	x->eps = b->net->arch->bn_eps;
	x->weights = x->c;
	x->weight = add_vector(b, name, "weight", x->c, (struct init){ .value = 1 });
	x->bias = add_vector(b, name, "bias", x->c, (struct init){ 0 });
}

void build_attention(struct builder *b, int heads, int queries)
{
	const struct node *in = &b->net->nodes[b->at];
	bool all = queries == in->h * in->w;
	struct node *x = add_node(b, &op_attention, b->at, all ? in->h : 1, all ? in->w : queries, in->c / 3);

	if (in->c % (3 * heads) || queries > in->h * in->w)
		bug("attention of %d heads and %d queries to %d channels", heads, queries, in->c);
	x->heads = heads;
}

/* One layer of a head under PREFIX.AT; norms and activations are the node's before. */
static void head_layer(struct builder *b, const struct head_layer *l, const char *prefix, int at)
{
	struct init uniform = { .uniform = 1 / sqrt(b->net->nodes[b->at].c) };
	struct node *x = &b->net->nodes[b->at];
	char name[32];

	format(name, sizeof(name), "%s.%d", prefix, at);
	if (l->kind == HEAD_LINEAR)
		add_linear(b, l->width, ACT_NONE, name, uniform, uniform);
	else if (l->kind == HEAD_NORM)
		add_norm(b, x, name, 1e-5);   /* PyTorch's */
	else if (l->kind == HEAD_DROP)
		add_drop(b, l->p, false);
	else
		x->act = l->kind == HEAD_RELU ? ACT_RELU : ACT_GELU;
}

static int build_head(struct builder *b)
{
	struct net *net = b->net;
	const struct node *in = &net->nodes[b->at];
	struct head h;

	if (head_parse(&h, net->config.head, in->c, net->config.dim) < 0)
		return -1;
	if (h.count && in->h * in->w != 1)
		return fail_code(EXIT_USAGE, "'%s' has no pooled feature for a head", net->arch->entry.name);
	format(net->head_text, sizeof(net->head_text), "%s", net->config.head);
	net->config.head = net->head_text;   /* the caller's may not live as long */
	for (int i = 0; i < h.count; i++)
		head_layer(b, &h.layers[i], "head", i);
	if (h.count) {
		net->head = b->at;
		net->config.dim = h.width;
	}
	return 0;
}

/* A wish that the architecture has no place for is refused. */
static int check_drops(const struct net *net)
{
	bool has[2] = { false, false };

	for (int i = 0; i < net->count; i++)
		if (net->nodes[i].op == &op_drop)
			has[net->nodes[i].by_image] = true;
	if (net->config.dropout > 0 && !has[0])
		return fail_code(EXIT_USAGE, "'%s' has no dropout", net->arch->entry.name);
	if (net->config.drop_path > 0 && !has[1])
		return fail_code(EXIT_USAGE, "'%s' has no stochastic depth", net->arch->entry.name);
	return 0;
}

int build_net(struct net *net)
{
	struct builder b = { .net = net, .gate = -1 };

	net->feature = net->head = -1;
	add_node(&b, &op_view, -1, net->config.height, net->config.width, 3)->ld = 3;
	build_arch(&b);
	if (b.failed || check_drops(net) < 0)
		return -1;
	if (b.gate >= 0)
		bug("'%s' ends with a gate", net->arch->entry.name);
	net->feature = b.at;
	return build_head(&b);
}
