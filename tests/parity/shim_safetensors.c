/* Plain-argument doors to safetensors.h for the tests in Python (ctypes). */
#include "lib/tensor/safetensors.h"

struct tensors *shim_safetensors_open(const char *path);
struct tensors *shim_tensors_open(const char *path);
void shim_safetensors_close(struct tensors *f);
int shim_safetensors_counts(const struct tensors *f, int *meta_count);
const void *shim_safetensors_tensor(const struct tensors *f, int i, char *name, int64_t *facts);
void shim_safetensors_meta(const struct tensors *f, int i, const char **key, const char **value);
bool shim_safetensors_finds(const struct tensors *f, const char *name);
int shim_safetensors_write(const char *path, int count, const char **names, const int64_t *facts, void **data, int meta_count,
			   char **keys, char **values);

/* NULL after fail(). */
struct tensors *shim_safetensors_open(const char *path)
{
	struct tensors *f = xcalloc(1, sizeof(*f));

	if (safetensors_open(f, path) == 0)
		return f;
	free(f);
	return NULL;
}

/* A file of any kind. */
struct tensors *shim_tensors_open(const char *path)
{
	struct tensors *f = xcalloc(1, sizeof(*f));

	if (tensors_open(f, path) == 0)
		return f;
	free(f);
	return NULL;
}

void shim_safetensors_close(struct tensors *f)
{
	tensors_close(f);
	free(f);
}

int shim_safetensors_counts(const struct tensors *f, int *meta_count)
{
	*meta_count = f->meta_count;
	return f->count;
}

/* facts: dtype, rank, shape[8], bytes. Returns the data. */
const void *shim_safetensors_tensor(const struct tensors *f, int i, char *name, int64_t *facts)
{
	const struct tensor *t = &f->tensors[i];

	memcpy(name, t->name, sizeof(t->name));
	facts[0] = t->dtype;
	facts[1] = t->rank;
	memcpy(facts + 2, t->shape, sizeof(t->shape));
	facts[10] = (int64_t)tensor_bytes(t);
	return t->data;
}

void shim_safetensors_meta(const struct tensors *f, int i, const char **key, const char **value)
{
	*key = f->meta[i].key;
	*value = tensors_meta(f, *key);
}

bool shim_safetensors_finds(const struct tensors *f, const char *name)
{
	return tensors_find(f, name) != NULL;
}

/* facts: dtype, rank, shape[8] of every tensor. */
int shim_safetensors_write(const char *path, int count, const char **names, const int64_t *facts, void **data, int meta_count,
			   char **keys, char **values)
{
	struct tensor *tensors = xcalloc(count, sizeof(*tensors));
	struct metadata *meta = xcalloc(meta_count, sizeof(*meta));
	int r;

	for (int i = 0; i < count; i++)
		tensors[i] = tensor_borrow(names[i], facts[10 * i], (int)facts[10 * i + 1], facts + 10 * i + 2, data[i]);
	for (int i = 0; i < meta_count; i++)
		meta[i] = (struct metadata){ keys[i], values[i] };
	r = safetensors_write(path, tensors, count, meta, meta_count);
	free(tensors);
	free(meta);
	return r;
}
