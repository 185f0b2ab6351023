/*
 * fuzz_tar.c - libFuzzer on reading a tar: headers, pax records, long names, WebDataset's members
 *
 * The checksum of the header at every block is set right where the block looks like one, else nothing would get past it.
 */
#include "tests/fuzz/fuzz_dataset.h"

enum { BLOCK = 512 };

static void set_checksums(uint8_t *p, size_t size)
{
	for (size_t at = 0; at + BLOCK <= size; at += BLOCK) {
		unsigned sum = 0;

		if (p[at + 257] != 'u')
			continue;
		memset(p + at + 148, ' ', 8);
		for (int i = 0; i < BLOCK; i++)
			sum += p[at + i];
		snprintf((char *)p + at + 148, 8, "%06o", sum);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = xmalloc(size + 1);
	int r;

	if (size)
		memcpy(copy, data, size);
	set_checksums(copy, size);
	r = open_all(put_file(0, copy, size));
	free(copy);
	return r;
}
