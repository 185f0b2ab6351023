/*
 * kernels.c - which set of loops runs here
 *
 * kernels_*.c are compiled once for each instruction set, some also for each type of element; ISA() and TYPED() make their names
 * different.
 */
#include "lib/nn/kernels/kernels.h"

#include "lib/base/isa.h"

#define TABLES(isa) extern const struct kernels kernels_f32_##isa, kernels_bf16_##isa
TABLES(base);
#ifdef ISA_X86
TABLES(avx2);
TABLES(avx512);
TABLES(avx512bf16);
#endif

static const struct { const struct kernels *of[DTYPES]; } sets[] = {
	[ISA_PLAIN] = { { [F32] = &kernels_f32_base, [BF16] = &kernels_bf16_base } },
#ifdef ISA_X86
	[ISA_AVX2] = { { [F32] = &kernels_f32_avx2, [BF16] = &kernels_bf16_avx2 } },
	[ISA_AVX512] = { { [F32] = &kernels_f32_avx512, [BF16] = &kernels_bf16_avx512 } },
	[ISA_AVX512BF16] = { { [F32] = &kernels_f32_avx512bf16, [BF16] = &kernels_bf16_avx512bf16 } },
#endif
};

const struct kernels *kernels_find(enum dtype e)
{
	return ISA_ROW(sets).of[e];
}
