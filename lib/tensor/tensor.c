#include "lib/tensor/tensor.h"

#include <math.h>

static const struct {
	const char *name;
	size_t size;
} dtypes[] = {
	[U8] = { "u8", 1 },    [I32] = { "i32", 4 },   [I64] = { "i64", 8 }, [F32] = { "f32", 4 },
	[F16] = { "f16", 2 },  [BF16] = { "bf16", 2 }, [F64] = { "f64", 8 },
};
_Static_assert(ARRAY_SIZE(dtypes) == DTYPES, "every dtype has a row");

size_t dtype_size(enum dtype d)
{
	return dtypes[d].size;
}

const char *dtype_name(enum dtype d)
{
	return dtypes[d].name;
}

int dtype_find(const char *name)
{
	for (int d = 0; d < DTYPES; d++)
		if (strcmp(dtypes[d].name, name) == 0)
			return d;
	return -1;
}

static void free_plain(struct buffer *b)
{
	free(b->data);
	free(b);
}

struct buffer *buffer_new(size_t size)
{
	struct buffer *b = xcalloc(1, sizeof(*b));

	atomic_init(&b->refs, 1);
	b->data = xaligned(size);
	b->size = size;
	b->release = free_plain;
	return b;
}

struct buffer *buffer_ref(struct buffer *b)
{
	if (b)
		atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	return b;
}

void buffer_unref(struct buffer *b)
{
	if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
		b->release(b);
}

bool buffer_shared(struct buffer *b)
{
	return atomic_load_explicit(&b->refs, memory_order_acquire) > 1;
}

struct tensor tensor_borrow(const char *name, enum dtype d, int rank, const int64_t *shape, void *data)
{
	struct tensor t = { .dtype = d, .rank = rank, .data = data };

	if (rank < 0 || rank > TENSOR_RANK)
		bug("tensor '%s' of rank %d", name, rank);
	if (format(t.name, sizeof(t.name), "%s", name) < 0)
		bug("tensor name '%s' is too long", name);
	for (int i = 0; i < rank; i++)
		t.shape[i] = shape[i];
	return t;
}

struct tensor tensor_new(const char *name, enum dtype d, int rank, const int64_t *shape)
{
	struct tensor t = tensor_borrow(name, d, rank, shape, NULL);

	t.owner = buffer_new(tensor_bytes(&t));
	t.data = t.owner->data;
	return t;
}

struct tensor tensor_share(const struct tensor *t)
{
	struct tensor copy = *t;

	buffer_ref(copy.owner);
	return copy;
}

void tensor_release(struct tensor *t)
{
	buffer_unref(t->owner);
	t->owner = NULL;
	t->data = NULL;
}

int64_t tensor_count(const struct tensor *t)
{
	int64_t n = 1;

	for (int i = 0; i < t->rank; i++)
		n *= t->shape[i];
	return n;
}

size_t tensor_bytes(const struct tensor *t)
{
	return (size_t)tensor_count(t) * dtype_size(t->dtype);
}

static void *typed(const struct tensor *t, enum dtype d)
{
	if (t->dtype != d)
		bug("tensor '%s' is %s, not %s", t->name, dtype_name(t->dtype), dtype_name(d));
	return t->data;
}

uint8_t *tensor_u8(const struct tensor *t)
{
	return typed(t, U8);
}

int32_t *tensor_i32(const struct tensor *t)
{
	return typed(t, I32);
}

int64_t *tensor_i64(const struct tensor *t)
{
	return typed(t, I64);
}

float *tensor_f32(const struct tensor *t)
{
	return typed(t, F32);
}

const char *tensor_spec(const struct tensor *t, char *dst, size_t size)
{
	int n = snprintf(dst, size, "%s[", dtype_name(t->dtype));

	for (int i = 0; i < t->rank && n < (int)size; i++)
		n += snprintf(dst + n, size - n, "%s%lld", i ? "," : "", (long long)t->shape[i]);
	if (n < (int)size)
		snprintf(dst + n, size - n, "]");
	return dst;
}

bool tensor_same_spec(const struct tensor *a, const struct tensor *b)
{
	if (a->dtype != b->dtype || a->rank != b->rank)
		return false;
	for (int i = 0; i < a->rank; i++)
		if (a->shape[i] != b->shape[i])
			return false;
	return true;
}

int64_t tensor_nonfinite(const float *x, int64_t n)
{
	int64_t bad = 0;

	for (int64_t i = 0; i < n; i++)
		bad += !isfinite(x[i]);
	return bad;
}
