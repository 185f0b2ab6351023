/*
 * tensor.h - a named, typed, shaped view of memory; C order, little-endian
 *
 * A tensor never frees by itself: it points into memory that somebody owns. When that is a struct buffer (counted
 * references, so that a record can be sent without a copy and kept for as long as the socket needs it), tensor_new()
 * takes a reference and tensor_release() gives it back. owner == NULL: borrowed, released without effect.
 *
 *	struct tensor q = tensor_new("q0", F32, 2, (int64_t[]){ 256, 128 });   owns fresh, zeroed, 64-byte aligned memory
 *	float *x = tensor_f32(&q);                                            (256, 128)
 *	tensor_release(&q);
 */
#ifndef TENSOR_TENSOR_H
#define TENSOR_TENSOR_H

#include <stdatomic.h>
#include "lib/base/base.h"

#define TENSOR_RANK 8
#define TENSOR_NAME 112

/* The wire carries U8, I32, I64, F32 (wire.5); safetensors files may hold the others too. */
enum dtype { U8, I32, I64, F32, F16, BF16, F64, DTYPES };

/* Bytes of one element; "u8", "f32", ... ; -1 for an unknown name. */
size_t dtype_size(enum dtype d);
const char *dtype_name(enum dtype d);
int dtype_find(const char *name);

/* Bytes of an element that arithmetic is done on, F32 or BF16; the n-th one of an array. */
static inline size_t element_size(enum dtype e)
{
	return e == BF16 ? 2 : 4;
}
static inline void *element_at(const void *p, enum dtype e, int64_t n)
{
	return (char *)p + n * (int64_t)element_size(e);
}

/* Counted memory. release(buffer) frees data and the buffer itself; it may run on any thread. */
struct buffer {
	atomic_int refs;
	void *data;
	size_t size;
	void (*release)(struct buffer *b);
};
struct buffer *buffer_new(size_t size);    /* zeroed, 64-byte aligned, one reference */
struct buffer *buffer_ref(struct buffer *b);
void buffer_unref(struct buffer *b);       /* NULL is fine */
/* Whether somebody else still holds it (a send in flight): do not write to it then. */
bool buffer_shared(struct buffer *b);

struct tensor {
	char name[TENSOR_NAME];
	enum dtype dtype;
	int rank;
	int64_t shape[TENSOR_RANK];
	void *data;
	struct buffer *owner;
};

struct tensor tensor_new(const char *name, enum dtype d, int rank, const int64_t *shape);
/* A view of memory that the caller keeps alive. */
struct tensor tensor_borrow(const char *name, enum dtype d, int rank, const int64_t *shape, void *data);
/* A second holder of the same memory (takes a reference when there is an owner). */
struct tensor tensor_share(const struct tensor *t);
void tensor_release(struct tensor *t);

int64_t tensor_count(const struct tensor *t);   /* product of the shape */
size_t tensor_bytes(const struct tensor *t);
/* Elements as the named type; another dtype is a bug. */
uint8_t *tensor_u8(const struct tensor *t);
int32_t *tensor_i32(const struct tensor *t);
int64_t *tensor_i64(const struct tensor *t);
float *tensor_f32(const struct tensor *t);
/* "f32[256,128]" into dst (returned). */
const char *tensor_spec(const struct tensor *t, char *dst, size_t size);
bool tensor_same_spec(const struct tensor *a, const struct tensor *b);
/* Number of non-finite elements of an f32 vector. */
int64_t tensor_nonfinite(const float *x, int64_t n);

#endif
