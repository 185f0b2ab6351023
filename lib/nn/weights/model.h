/*
 * model.h - a network's weights as files: torchvision's names and shapes, written as safetensors, read from files of tensors
 *
 *	float *staging = xaligned(model_staging(net));
 *	n = model_collect(net, "", LAYERS_ALL, params, buffers, staging, tensors);    tensors borrow from staging
 *	safetensors_write("model.safetensors", tensors, n, meta, meta_count);
 *	...
 *	read = model_load(net, &file, path, &(struct model_place){ "" }, LAYERS_OF(OUTPUT_FEATURE), LAYERS_ALL, params, buffers,
 *	                  NULL);
 */
#ifndef NN_MODEL_H
#define NN_MODEL_H

#include "lib/nn/engine/net.h"
#include "lib/tensor/safetensors.h"

/* Bytes that model_collect() needs for one copy of parameters and buffers. */
size_t model_staging(const struct net *net);
/* Sets of layers, by the output that they lead to; those that a key encoder has. */
#define LAYERS_OF(output) (1 << (output))
#define LAYERS_ALL ((1 << OUTPUTS) - 1)
#define LAYERS_KEY (LAYERS_OF(OUTPUT_FEATURE) | LAYERS_OF(OUTPUT_HEAD))

/* Fills tensors[] with prefix + name for every parameter (from params) and, unless buffers is NULL, every buffer of these layers,
 * in torchvision's layout. Returns how many. */
int model_collect(const struct net *net, const char *prefix, int layers, const float *params, const float *buffers,
		  float *staging, struct tensor *tensors);

/* Where in a file a network's tensors are. */
struct model_place {
	char prefix[TENSOR_NAME];   /* before every name: "model." in a checkpoint of a run, "" in most files */
	bool other;                 /* the names are those of aliases_other() */
};

/* Reads the tensors of these layers from their place in a file, f32, f16, bf16 or f64; what is not required may be missing as a
 * whole. A missing tensor, another shape, or a tensor there that the network has no place for (but a head's that is not its own)
 * fails, naming it; but a position embedding of another (square) grid is resized, and a note says so. buffers may be NULL. used:
 * NULL, or set for those of f's tensors that were read. Returns the layers that were read, or -1. */
int model_load(const struct net *net, const struct tensors *f, const char *path, const struct model_place *place, int required,
	       int layers, float *params, float *buffers, bool *used);

/* Whether the file has these layers under its own names, all of them in the network's shapes. */
bool model_fits(const struct net *net, const struct tensors *f, const char *prefix, enum output output);

/* Whether a name behind the prefix is of a head, a classifier or a projector, not of the backbone; and BN's counters of
 * batches. */
bool model_is_head(const char *name);
bool model_is_counter(const char *name);

#endif
