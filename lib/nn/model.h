/*
 * model.h - a network's weights as files: torchvision's names and shapes, read and written as safetensors
 *
 *	float *staging = xaligned(model_staging(net));
 *	n = model_collect(net, "", params, buffers, staging, tensors);    tensors borrow from staging
 *	safetensors_write("model.safetensors", tensors, n, meta, meta_count);
 *	...
 *	model_load(net, &file, "", MODEL_HEAD_OPTIONAL, params, buffers);
 */
#ifndef NN_MODEL_H
#define NN_MODEL_H

#include "lib/nn/net.h"
#include "lib/tensor/safetensors.h"

/* Bytes that model_collect() needs for one copy of parameters and buffers. */
size_t model_staging(const struct net *net);
/* Number of tensors of one copy. */
int model_count(const struct net *net);
/* Fills tensors[] with prefix + name for every parameter (from params) and, unless buffers is NULL, every buffer, in
 * torchvision's layout. Returns how many. */
int model_collect(const struct net *net, const char *prefix, const float *params, const float *buffers, float *staging,
		  struct tensor *tensors);

/* What stands before the names of the network's weights in a file: "model." in a checkpoint of a run, else "". */
const char *model_prefix(const struct tensors *f);

enum model_head {
	MODEL_HEAD_REQUIRED,   /* every tensor must be there */
	MODEL_HEAD_OPTIONAL,   /* head.* may be missing as a whole: *head tells */
};
/* Reads every tensor of the network from a file, under prefix + name, f32, f16, bf16 or f64. A missing tensor, another shape, or
 * a tensor that the network has no place for (but a classifier's) fails, naming it; but a position embedding of another (square)
 * grid is resized, and a note says so. buffers may be NULL. Returns 1 when the head was read too, 0 when it was not there, -1. */
int model_load(const struct net *net, const struct tensors *f, const char *path, const char *prefix, enum model_head head,
	       float *params, float *buffers);

#endif
