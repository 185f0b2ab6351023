/* fuzz_pth.c - libFuzzer on reading PyTorch's files: the archive, the pickle in it, and every byte of the tensors it tells of */
#include "tests/fuzz/fuzz_tensors.h"
#include "lib/tensor/pth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return read_tensors(data, size, pth_parse);
}
