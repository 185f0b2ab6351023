/* fuzz_idx.c - libFuzzer on reading IDX images, plain or gzip, with labels beside them; the first byte says where labels begin */
#include "tests/fuzz/fuzz_dataset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t labels = size ? (size_t)data[0] * (size - 1) / 255 : 0;

	if (size < 2)
		return 0;
	put_file(1, data + 1, labels);
	return open_all(put_file(2, data + 1 + labels, size - 1 - labels));
}
