/*
 * tensors.h - named tensors of a file: safetensors (safetensors.h) or PyTorch's (pth.h)
 *
 * The data lie in the mapped file where they can, in memory of their own where they must.
 *
 *	struct tensors f;
 *	if (tensors_open(&f, "run/model.safetensors") < 0) return -1;
 *	const struct tensor *w = tensors_find(&f, "conv1.weight");      borrows from f
 *	tensors_close(&f);
 */
#ifndef TENSOR_TENSORS_H
#define TENSOR_TENSORS_H

#include "lib/tensor/tensor.h"

struct metadata {
	char *key, *value;
};

struct tensors {
	struct tensor *tensors;   /* sorted by name, each once; data inside map, or owned */
	int count;
	struct metadata *meta;
	int meta_count;
	void *map;
	size_t map_size;
};

/* What kind of file it is is told by its content, not by its name. 0, or -1 after fail(). */
int tensors_open(struct tensors *f, const char *path);
void tensors_close(struct tensors *f);
const struct tensor *tensors_find(const struct tensors *f, const char *name);
const char *tensors_meta(const struct tensors *f, const char *key);   /* NULL when absent */

/* For readers: maps a file of at least 8 bytes, everything else zero. 0, or -1 after fail(). */
int tensors_map(struct tensors *f, const char *path);
void tensors_sort(struct tensors *f);

#endif
