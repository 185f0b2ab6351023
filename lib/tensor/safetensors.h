/*
 * safetensors.h - files of named tensors: u64 LE header size, JSON header, data (the format's README, huggingface/safetensors)
 *
 * Reading checks what the reference implementation checks: sizes, overflow, duplicate names, no holes, no overlap, exact
 * file length. Writing is whole or not at all (write_whole). Metadata is a flat text map.
 *
 *	struct safetensors f;
 *	if (safetensors_open(&f, "run/model.safetensors") < 0) return -1;
 *	const struct tensor *w = safetensors_find(&f, "conv1.weight");      borrows from f
 *	safetensors_close(&f);
 */
#ifndef TENSOR_SAFETENSORS_H
#define TENSOR_SAFETENSORS_H

#include "lib/tensor/tensor.h"

struct metadata {
	char *key, *value;
};

struct safetensors {
	struct tensor *tensors;   /* sorted by name, data inside map */
	int count;
	struct metadata *meta;
	int meta_count;
	void *map;
	size_t map_size;
};

/* Maps and validates a file. 0, or -1 after fail(). Tensors may be misaligned for their type only if the file makes them so;
 * such files are copied to aligned memory. */
int safetensors_open(struct safetensors *f, const char *path);
void safetensors_close(struct safetensors *f);
const struct tensor *safetensors_find(const struct safetensors *f, const char *name);
const char *safetensors_meta(const struct safetensors *f, const char *key);   /* NULL when absent */

/* Writes path whole or not at all; the bytes depend only on the arguments (tensors are ordered by alignment, then name). */
int safetensors_write(const char *path, const struct tensor *tensors, int count, const struct metadata *meta, int meta_count);

#endif
