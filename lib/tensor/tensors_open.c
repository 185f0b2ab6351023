/* tensors_open.c - a file of either kind, by its content */
#include "lib/tensor/pth.h"
#include "lib/tensor/safetensors.h"

int tensors_open(struct tensors *f, const char *path)
{
	if (tensors_map(f, path) < 0)
		return -1;
	if ((pth_is(f) ? pth_parse(f, path) : safetensors_parse(f, path)) == 0)
		return 0;
	tensors_close(f);
	return -1;
}
