/* Plain-argument doors to lib/nn/model.h for the parity tests in Python (ctypes). */
#include "lib/nn/model.h"

int shim_model_save(const struct net *net, const char *path, const char *prefix, const float *params, const float *buffers);
int shim_model_load(const struct net *net, const char *path, const char *prefix, int head, float *params, float *buffers);

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
	struct tensors f;
	int r;

	if (safetensors_open(&f, path) < 0)
		return -1;
	r = model_load(net, &f, path, prefix, (enum model_head)head, params, buffers);
	tensors_close(&f);
	return r;
}
