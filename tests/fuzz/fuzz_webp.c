/* fuzz_webp.c - libFuzzer on the decoding of WebP files, less their first 4 bytes */
#include "tests/fuzz/fuzz_picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return decode_input(data, size, "RIFF", 4);
}
