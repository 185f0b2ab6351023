/* fuzz_png.c - libFuzzer on the decoding of PNG files, less their first 8 bytes; the chunks' checksums are set right */
#include <zlib.h>

#include "tests/fuzz/fuzz_picture.h"

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

static void set_checksums(uint8_t *p, size_t size)
{
	for (size_t at = 0; at + 12 <= size;) {
		uint32_t n = be32(p + at), crc;

		if (n > size - at - 12)
			return;
		crc = (uint32_t)crc32(0, p + at + 4, n + 4);
		for (int i = 0; i < 4; i++)
			p[at + 8 + n + i] = (uint8_t)(crc >> (24 - 8 * i));
		at += 12 + n;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = xmalloc(size + 1);

	if (size)
		memcpy(copy, data, size);
	set_checksums(copy, size);
	decode_input(copy, size, "\x89PNG\r\n\x1a\n", 8);
	free(copy);
	return 0;
}
