/*
 * kernels.c - which set of loops runs here
 *
 * kernels_*.c are compiled once for each instruction set, some also for each type of element; ISA() and TYPED() make their names
 * different.
 */
#include "lib/nn/kernels_isa.h"
#include "lib/nn/tiles.h"

#define TABLES(isa) extern const struct kernels kernels_f32_##isa, kernels_bf16_##isa
TABLES(base);
#ifdef ISA_X86
TABLES(avx2);
TABLES(avx512);
TABLES(avx512bf16);
TABLES(amx);

static bool has_avx2(void)
{
	return isa_widest() >= ISA_AVX2;
}

static bool has_avx512(void)
{
	return isa_widest() >= ISA_AVX512;
}

static bool has_avx512bf16(void)
{
	return has_avx512() && __builtin_cpu_supports("avx512bf16");
}

static bool has_amx(void)
{
	return has_avx512bf16() && tiles_here();
}
#endif

static bool has_base(void)
{
	return true;
}

/* Best first. */
static const struct {
	const char *name;
	const struct kernels *kernels[DTYPES];
	bool (*here)(void);
} sets[] = {
#ifdef ISA_X86
	{ "amx", { [F32] = &kernels_f32_amx, [BF16] = &kernels_bf16_amx }, has_amx },
	{ "avx512bf16", { [F32] = &kernels_f32_avx512bf16, [BF16] = &kernels_bf16_avx512bf16 }, has_avx512bf16 },
	{ "avx512", { [F32] = &kernels_f32_avx512, [BF16] = &kernels_bf16_avx512 }, has_avx512 },
	{ "avx2", { [F32] = &kernels_f32_avx2, [BF16] = &kernels_bf16_avx2 }, has_avx2 },
#endif
	{ "base", { [F32] = &kernels_f32_base, [BF16] = &kernels_bf16_base }, has_base },
};

const struct kernels *kernels_find(enum dtype e)
{
	const char *wish = getenv("SPRAT_ISA");

	for (int i = 0; i < ARRAY_SIZE(sets); i++) {
		if (wish && *wish && strcmp(wish, sets[i].name))
			continue;
		if (sets[i].here())
			return sets[i].kernels[e];
		if (wish && *wish) {
			fail_code(EXIT_USAGE, "SPRAT_ISA asks for '%s', which this processor does not have", wish);
			return NULL;
		}
	}
	fail_code(EXIT_USAGE, "SPRAT_ISA asks for '%s': choose base, avx2, avx512, avx512bf16 or amx", wish);
	return NULL;
}
