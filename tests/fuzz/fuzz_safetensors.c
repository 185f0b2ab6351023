/* fuzz_safetensors.c - libFuzzer on reading safetensors: the header, and every byte of the tensors it tells of */
#include "tests/fuzz/fuzz_tensors.h"
#include "lib/tensor/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return read_tensors(data, size, safetensors_parse);
}
