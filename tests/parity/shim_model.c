/* Plain-argument doors to lib/nn/weights/model.h for the parity tests in Python (ctypes). */
#include "lib/nn/weights/adopt.h"

int shim_model_save(const struct net *net, const char *path, const char *prefix, const float *params, const float *buffers);
int shim_model_load(const struct net *net, const char *path, const char *prefix, int head, float *params, float *buffers);
int shim_adopt(const struct net *net, const char *path, float *params, float *buffers);

int shim_model_save(const struct net *net, const char *path, const char *prefix, const float *params, const float *buffers)
{
	struct tensor *tensors = xcalloc(net_tensors(net, NULL), sizeof(*tensors));
	float *staging = xaligned(model_staging(net));
	int r = model_collect(net, prefix, LAYERS_ALL, params, buffers, staging, tensors);

	r = safetensors_write(path, tensors, r, NULL, 0);
	free(staging);
	free(tensors);
	return r;
}

/* 1: with the head, 0: without; -1 after fail(). */
static int with_head(int layers)
{
	return layers < 0 ? -1 : (layers & LAYERS_OF(OUTPUT_HEAD)) != 0;
}

/* head: 0: all layers are required, 1: the backbone's are. */
int shim_model_load(const struct net *net, const char *path, const char *prefix, int head, float *params, float *buffers)
{
	struct model_place place = { .other = false };
	struct tensors f;
	int r;

	if (safetensors_open(&f, path) < 0)
		return -1;
	snprintf(place.prefix, sizeof(place.prefix), "%s", prefix);
	r = model_load(net, &f, path, &place, head ? LAYERS_OF(OUTPUT_FEATURE) : LAYERS_ALL, LAYERS_ALL, params, buffers, NULL);
	tensors_close(&f);
	return with_head(r);
}

int shim_adopt(const struct net *net, const char *path, float *params, float *buffers)
{
	struct tensors f;
	int r;

	if (tensors_open(&f, path) < 0)
		return -1;
	r = adopt(net, &f, path, 0, params, buffers);
	tensors_close(&f);
	return with_head(r);
}
