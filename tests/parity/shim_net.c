/* Plain-argument doors to lib/nn and lib/loss for parity tests in Python (ctypes): what takes a struct takes its members. */
#include "lib/loss/loss.h"
#include "lib/nn/engine/net.h"
#include "lib/nn/train/optimiser.h"

const char *shim_name(int table, int i);
struct net *shim_net(const char *arch, int small, const char *head, const char *predictor, int dim, int height, int width,
		     double dropout, double drop_path, const float *mean, const float *std, const char *backend, int bf16,
		     const char *freeze);
int shim_net_tensor(const struct net *net, int i, char *name, int64_t *facts);
void shim_net_export(const struct net *net, int i, const float *flat, float *out);
void shim_net_import(const struct net *net, int i, const float *in, float *flat);
struct optimiser *shim_optim(const char *spelling, double clip, const int64_t *counts, const int *ranks, int tensors);
float *shim_optim_slot(const struct optimiser *o, int i, const char **name);
double shim_optim_rate(const char *spelling, int batch);
void shim_optim_free(struct optimiser *o);
double shim_rate(const char *spelling, double base, int64_t step, int64_t steps_per_epoch, double epochs);
struct objective *shim_loss(const char *spelling, int rows, int dim, uint64_t seed, float *queue);
double shim_loss_step(struct objective *o, int64_t step, const float *q, const float *k, float *d_q, float *queue);

/* Name of row i of the architectures (0), optimisers (1) or schedules (2); NULL past the last. */
const char *shim_name(int table, int i)
{
	const struct table *t = (const struct table *[]){ &arch_table, &optimiser_table, &schedule_table }[table];

	return i < t->count ? table_row(t, i)->name : NULL;
}

struct net *shim_net(const char *arch, int small, const char *head, const char *predictor, int dim, int height, int width,
		     double dropout, double drop_path, const float *mean, const float *std, const char *backend, int bf16,
		     const char *freeze)
{
	struct net_config c = {
		.arch = arch_find(arch), .small = small, .head = head, .predictor = predictor, .dim = dim, .height = height,
		.width = width, .dropout = dropout, .drop_path = drop_path, .backend = backend, .bf16 = bf16, .freeze = freeze,
	};

	memcpy(c.mean, mean, sizeof(c.mean));
	memcpy(c.std, std, sizeof(c.std));
	return net_new(&c);
}

/* facts: buffer, norm_or_bias, count, rank, shape[4]. Returns how many tensors there are; i may be out of range then. */
int shim_net_tensor(const struct net *net, int i, char *name, int64_t *facts)
{
	const struct net_tensor *list;
	int count = net_tensors(net, &list);

	if (i < 0 || i >= count)
		return count;
	memcpy(name, list[i].name, sizeof(list[i].name));
	facts[0] = list[i].buffer;
	facts[1] = list[i].norm_or_bias;
	facts[2] = list[i].count;
	facts[3] = list[i].rank;
	memcpy(facts + 4, list[i].shape, sizeof(list[i].shape));
	return count;
}

void shim_net_export(const struct net *net, int i, const float *flat, float *out)
{
	const struct net_tensor *list;

	net_tensors(net, &list);
	net_export(net, &list[i], flat, out);
}

void shim_net_import(const struct net *net, int i, const float *in, float *flat)
{
	const struct net_tensor *list;

	net_tensors(net, &list);
	net_import(net, &list[i], in, flat);
}

/* For tensors of these counts and ranks, one after another; those of rank 1 are norms and biases. NULL after fail(). */
struct optimiser *shim_optim(const char *spelling, double clip, const int64_t *counts, const int *ranks, int tensors)
{
	struct net_tensor list[16] = { 0 };
	struct optimiser *o;
	struct choice c;
	int64_t at = 0;

	if (tensors > ARRAY_SIZE(list) || choice_parse(&c, &optimiser_table, spelling) < 0)
		return NULL;
	for (int i = 0; i < tensors; at += counts[i++])
		list[i] = (struct net_tensor){ .rank = ranks[i], .rate = 1, .offset = at, .count = counts[i],
					       .norm_or_bias = ranks[i] == 1 };
	o = xcalloc(1, sizeof(*o));
	optimiser_init(o, &c, clip, list, tensors);
	return o;
}

/* State vector i and its name; NULL past the last. */
float *shim_optim_slot(const struct optimiser *o, int i, const char **name)
{
	*name = i < OPTIM_SLOTS ? optimiser_row(o)->slot_names[i] : NULL;
	return i < OPTIM_SLOTS ? o->slots[i] : NULL;
}

void shim_optim_free(struct optimiser *o)
{
	optimiser_release(o);
	free(o);
}

/* NaN after fail(). */
double shim_optim_rate(const char *spelling, int batch)
{
	struct choice c;

	return choice_parse(&c, &optimiser_table, spelling) < 0 ? 0.0 / 0.0 : optimiser_rate(&c, batch);
}

/* NaN after fail(). */
double shim_rate(const char *spelling, double base, int64_t step, int64_t steps_per_epoch, double epochs)
{
	struct choice c;

	if (choice_parse(&c, &schedule_table, spelling) < 0)
		return 0.0 / 0.0;
	return schedule_rate(&c, base, step, steps_per_epoch, epochs);
}

static struct tensor embedding(const char *name, const float *rows, int n, int dim)
{
	return tensor_borrow(name, F32, 2, (int64_t[]){ n, dim }, (void *)rows);
}

/* The objective of an asymmetric loss on q0 and k1 (rows, dim); its first queue is copied into queue. NULL after fail(). */
struct objective *shim_loss(const char *spelling, int rows, int dim, uint64_t seed, float *queue)
{
	struct tensor given[] = { embedding("q0", NULL, rows, dim), embedding("k1", NULL, rows, dim) };
	struct objective *o;
	struct choice c;

	if (choice_parse(&c, &loss_table, spelling) < 0)
		return NULL;
	o = objective_new(&c, given, ARRAY_SIZE(given), seed, 0);
	if (o)
		memcpy(queue, tensor_f32(&o->state[0]), tensor_bytes(&o->state[0]));
	return o;
}

/* One step: the gradient for q into d_q, the queue after it into queue; the loss, NaN after fail(). */
double shim_loss_step(struct objective *o, int64_t step, const float *q, const float *k, float *d_q, float *queue)
{
	int dim = (int)o->state[0].shape[1];
	struct tensor batch[] = { embedding("q0", q, o->rows, dim), embedding("k1", k, o->rows, dim) };

	if (objective_step(o, step, batch, ARRAY_SIZE(batch)) < 0)
		return 0.0 / 0.0;
	memcpy(d_q, tensor_f32(&o->inputs[0].gradient), tensor_bytes(&o->inputs[0].gradient));
	memcpy(queue, tensor_f32(&o->state[0]), tensor_bytes(&o->state[0]));
	return objective_scalar(o, "loss");
}
