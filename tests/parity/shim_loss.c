/* Plain-argument doors to lib/loss for the tests in Python (ctypes). */
#include "lib/base/threads.h"
#include "lib/loss/loss.h"
#include "lib/loss/monitor.h"

int shim_objective_count(void);
const char *shim_objective_name(int i);
int shim_objective_needs(const char *spelling, char *out);
struct objective *shim_objective_new(const char *spelling, int rows, const int *dims, uint64_t seed, int threads);
void shim_objective_free(struct objective *o);
int shim_objective_step(struct objective *o, int64_t step, void **inputs);
double shim_objective_scalar(const struct objective *o, const char *name);
double shim_objective_expected(const struct objective *o);
const float *shim_objective_gradient(const struct objective *o, int i);
int shim_objective_states(const struct objective *o);
const struct tensor *shim_objective_state(const struct objective *o, int i);
void *shim_tensor_data(const struct tensor *t);
int64_t shim_tensor_bytes(const struct tensor *t);
const char *shim_tensor_name(const struct tensor *t);
int64_t shim_tensor_width(const struct tensor *t);
int shim_objective_copy_state(struct objective *to, const struct objective *from);
int shim_collapse_step(const double *std, int n, int dim);

int shim_objective_count(void)
{
	return loss_table.count;
}

const char *shim_objective_name(int i)
{
	return table_row(&loss_table, i)->name;
}

/* Names with blanks between into out; how many, or -1. */
int shim_objective_needs(const char *spelling, char *out)
{
	char names[LOSS_INPUTS][LOSS_NAME];
	struct choice c;
	int n;

	if (choice_parse(&c, &loss_table, spelling) < 0)
		return -1;
	n = loss_needs(&c, names);
	*out = '\0';
	for (int i = 0; i < n; i++)
		strcat(strcat(out, i ? " " : ""), names[i]);
	return n;
}

/* dims: the width of each input, 0: labels. */
struct objective *shim_objective_new(const char *spelling, int rows, const int *dims, uint64_t seed, int threads)
{
	char names[LOSS_INPUTS][LOSS_NAME];
	struct tensor given[LOSS_INPUTS];
	struct choice c;
	int n;

	threads_set(threads);
	if (choice_parse(&c, &loss_table, spelling) < 0)
		return NULL;
	n = loss_needs(&c, names);
	for (int i = 0; i < n; i++)
		given[i] = tensor_borrow(names[i], dims[i] ? F32 : I32, dims[i] > 0 ? 2 : 1, (int64_t[]){ rows, dims[i] }, NULL);
	return objective_new(&c, given, n, seed, 5000);
}

void shim_objective_free(struct objective *o)
{
	objective_free(o);
}

int shim_objective_step(struct objective *o, int64_t step, void **inputs)
{
	struct tensor batch[LOSS_INPUTS];

	for (int i = 0; i < o->input_count; i++)
		batch[i] = tensor_borrow(o->inputs[i].value.name, o->inputs[i].value.dtype, o->inputs[i].value.rank,
					 o->inputs[i].value.shape, inputs[i]);
	o->lr = 0.05;
	return objective_step(o, step, batch, o->input_count);
}

double shim_objective_scalar(const struct objective *o, const char *name)
{
	return objective_scalar(o, name);
}

double shim_objective_expected(const struct objective *o)
{
	return objective_expected(o);
}

const float *shim_objective_gradient(const struct objective *o, int i)
{
	return o->inputs[i].gradient.data;
}

int shim_objective_states(const struct objective *o)
{
	return o->state_count;
}

const struct tensor *shim_objective_state(const struct objective *o, int i)
{
	return &o->state[i];
}

void *shim_tensor_data(const struct tensor *t)
{
	return t->data;
}

int64_t shim_tensor_bytes(const struct tensor *t)
{
	return (int64_t)tensor_bytes(t);
}

const char *shim_tensor_name(const struct tensor *t)
{
	return t->name;
}

int64_t shim_tensor_width(const struct tensor *t)
{
	return t->rank ? t->shape[t->rank - 1] : 1;
}

int shim_objective_copy_state(struct objective *to, const struct objective *from)
{
	return objective_restore(to, from->state, from->state_count);
}

/* The first step (from 0) at which the collapse rule speaks, or -1. */
int shim_collapse_step(const double *std, int n, int dim)
{
	struct monitor m = { 0 };

	for (int i = 0; i < n; i++)
		if (monitor_collapsing(&m, std[i], dim))
			return i;
	return -1;
}
