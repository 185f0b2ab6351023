/* shim_nn.c - plain-argument doors to lib/nn for tests in Python */
#include "lib/nn/engine/engine.h"

struct shim {
	struct arch arch;
	struct row rows[64];
	struct net_config config;
	struct net *net;
	struct plan *plan;
	struct pass *pass;
};

struct shim *nn_rows(const int *rows, int count, double eps, int height, int width, int batch, const char *backend,
		     int bf16);
void nn_free(struct shim *s);
struct net *nn_net(struct shim *s);
struct pass *nn_pass(struct shim *s);
int nn_tensor(struct shim *s, int i, char *name, int *buffer, int64_t *shape);
void nn_set(struct shim *s, int i, const float *in, float *flat);
void nn_get(struct shim *s, int i, const float *flat, float *out);
int nn_ops(void);
void nn_masks(struct pass *p, uint64_t seed, int step, int stream, int row);
int nn_drop(const struct pass *p, int i, int row, double *facts, float *mask);
void nn_act(int act, int64_t n, const float *z, float *value, float *slope);
void nn_act_bf16(int act, int64_t n, const uint16_t *z, uint16_t *value, uint16_t *slope);
void nn_narrow(int64_t n, const float *from, uint16_t *to);
const char *nn_op_name(int i);

static struct shim *open_shim(struct shim *s, int height, int width, int batch, const char *backend)
{
	s->config.height = height;
	s->config.width = width;
	s->config.backend = backend;
	for (int i = 0; i < 3; i++) {
		s->config.mean[i] = 0.4f + 0.05f * i;
		s->config.std[i] = 0.2f + 0.02f * i;
	}
	s->net = net_new(&s->config);
	s->plan = s->net ? plan_new(s->net, height, width) : NULL;
	if (!s->plan) {
		net_free(s->net);
		free(s);
		return NULL;
	}
	s->pass = pass_new(s->plan, batch, true);
	return s;
}

/* rows: (count, 1 + ROW_INTEGERS) */
struct shim *nn_rows(const int *rows, int count, double eps, int height, int width, int batch, const char *backend,
		     int bf16)
{
	struct shim *s = xcalloc(1, sizeof(*s));

	for (int i = 0; i < count; i++) {
		s->rows[i].layer = rows[i * (1 + ROW_INTEGERS)];
		memcpy(s->rows[i].v, rows + i * (1 + ROW_INTEGERS) + 1, sizeof(s->rows[i].v));
	}
	s->arch = (struct arch){ .entry = { "rows", "from a test", NULL }, .rows = s->rows, .count = count, .bn_eps = eps };
	s->config.arch = &s->arch;
	s->config.head = "none";
	s->config.bf16 = bf16;
	return open_shim(s, height, width, batch, backend);
}

void nn_free(struct shim *s)
{
	pass_free(s->pass);
	plan_free(s->plan);
	net_free(s->net);
	free(s);
}

struct net *nn_net(struct shim *s)
{
	return s->net;
}

struct pass *nn_pass(struct shim *s)
{
	return s->pass;
}

/* Rank of tensor i, its name and shape; -1 after the last. */
int nn_tensor(struct shim *s, int i, char *name, int *buffer, int64_t *shape)
{
	const struct net_tensor *list;

	if (i >= net_tensors(s->net, &list))
		return -1;
	strcpy(name, list[i].name);
	*buffer = list[i].buffer;
	memcpy(shape, list[i].shape, sizeof(list[i].shape));
	return list[i].rank;
}

void nn_set(struct shim *s, int i, const float *in, float *flat)
{
	const struct net_tensor *list;

	net_tensors(s->net, &list);
	net_import(s->net, &list[i], in, flat);
}

void nn_get(struct shim *s, int i, const float *flat, float *out)
{
	const struct net_tensor *list;

	net_tensors(s->net, &list);
	net_export(s->net, &list[i], flat, out);
}

/* act(z) and act'(z) of n elements, a multiple of LANES, all arrays aligned. */
static void act_as(enum dtype e, int act, int64_t n, const void *z, void *value, void *slope)
{
	const struct kernels *k = kernels_find(e);
	const struct affine none = { 0 };

	k->read(value, z, n / LANES, LANES, &none, NULL, act);
	k->finish(slope, NULL, false, z, n / LANES, LANES, &none, act, NULL, NULL, NULL, false);
}

void nn_act(int act, int64_t n, const float *z, float *value, float *slope)
{
	for (int64_t i = 0; i < n; i++)
		slope[i] = 1;
	act_as(F32, act, n, z, value, slope);
}

void nn_act_bf16(int act, int64_t n, const uint16_t *z, uint16_t *value, uint16_t *slope)
{
	for (int64_t i = 0; i < n; i++)
		slope[i] = 0x3f80;
	act_as(BF16, act, n, z, value, slope);
}

/* Floats to bf16 as they are stored. */
void nn_narrow(int64_t n, const float *from, uint16_t *to)
{
	kernels_find(BF16)->narrow(to, from, n);
}

void nn_masks(struct pass *p, uint64_t seed, int step, int stream, int row)
{
	pass_masks(p, (struct masks){ .seed = seed, .step = (uint32_t)step, .stream = stream, .row = (uint32_t)row });
}

/* Floats of the mask of the i-th node that drops, -1 after the last; facts: its probability, channels, channels with padding,
 * whether it drops images. mask: NULL, or room for that of a row. */
int nn_drop(const struct pass *p, int i, int row, double *facts, float *mask)
{
	const struct plan *plan = p->plan;
	int node = 0;

	for (node = 1; node < plan->count; node++)
		if (plan->nodes[node].op == &op_drop && i-- == 0)
			break;
	if (node == plan->count)
		return -1;
	facts[0] = plan->nodes[node].drop;
	facts[1] = plan->nodes[node].c;
	facts[2] = plan->nodes[node].ld;
	facts[3] = plan->nodes[node].by_image;
	if (mask)
		drop_mask(p, node, row, mask);
	return plan->nodes[node].h * plan->nodes[node].w * plan->nodes[node].ld;
}

int nn_ops(void)
{
	return op_count;
}

const char *nn_op_name(int i)
{
	return op_list[i]->entry.name;
}
