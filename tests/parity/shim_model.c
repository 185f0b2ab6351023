/* Plain-argument doors to lib/nn/train/model.h for the parity tests in Python (ctypes). */
#include "lib/nn/train/adopt.h"

int shim_model_save(const struct net *net, const char *path, const char *prefix, const float *params, const float *buffers);
int shim_model_load(const struct net *net, const char *path, const char *prefix, int head, float *params, float *buffers);
int shim_adopt(const struct net *net, const char *path, float *params, float *buffers);

int shim_model_save(const struct net *net, const char *path, const char *prefix, const float *params, const float *buffers)
{
	struct tensor *tensors = xcalloc(model_count(net), sizeof(*tensors));
	float *staging = xaligned(model_staging(net));
	int r = model_collect(net, prefix, params, buffers, staging, tensors);

	r = safetensors_write(path, tensors, r, NULL, 0);
	free(staging);
	free(tensors);
	return r;
}

int shim_model_load(const struct net *net, const char *path, const char *prefix, int head, float *params, float *buffers)
{
	struct model_place place = { .other = false };
	struct tensors f;
	int r;

	if (safetensors_open(&f, path) < 0)
		return -1;
	snprintf(place.prefix, sizeof(place.prefix), "%s", prefix);
	r = model_load(net, &f, path, &place, (enum model_head)head, params, buffers, NULL);
	tensors_close(&f);
	return r;
}

int shim_adopt(const struct net *net, const char *path, float *params, float *buffers)
{
	struct tensors f;
	int r;

	if (tensors_open(&f, path) < 0)
		return -1;
	r = adopt(net, &f, path, params, buffers);
	tensors_close(&f);
	return r;
}
