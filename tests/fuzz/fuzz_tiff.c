/* fuzz_tiff.c - libFuzzer on the decoding of TIFF files, less their first 4 bytes; libtiff, opened late, is not instrumented */
#include "tests/fuzz/fuzz_picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return decode_input(data, size, "II*", 4);
}
