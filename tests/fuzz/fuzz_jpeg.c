/* fuzz_jpeg.c - libFuzzer on the decoding of JPEG files, less their first 3 bytes */
#include "tests/fuzz/fuzz_picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return decode_input(data, size, "\xff\xd8\xff", 3);
}
