/* fuzz_tensors.h - what the targets for files of tensors share: a file in memory of its own, parsed, all bytes touched */
#ifndef FUZZ_TENSORS_H
#define FUZZ_TENSORS_H

#include "lib/tensor/tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int read_tensors(const uint8_t *data, size_t size, int (*parse)(struct tensors *f, const char *path))
{
	struct tensors f = { .map_size = size };
	volatile uint64_t sum = 0;
	char *exact = xmalloc(size);   /* so that a byte beyond is noticed, which behind a mapping's end it would not be */

	verbosity = -1;
	if (size >= 8) {
		memcpy(exact, data, size);
		f.map = exact;
		if (parse(&f, "input") == 0)
			for (int i = 0; i < f.count; i++)
				sum += hash_bytes(HASH_INIT, f.tensors[i].data, tensor_bytes(&f.tensors[i]));
		f.map = NULL;   /* nothing to unmap */
		tensors_close(&f);
	}
	free(exact);
	return 0;
}

#endif
