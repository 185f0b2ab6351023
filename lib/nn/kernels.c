/*
 * kernels.c - which set of loops runs here
 *
 * kernels_*.c are compiled once for each instruction set, their names made different by ISA().
 */
#include "lib/nn/kernels_isa.h"

extern const struct kernels kernels_base;
#ifdef KERNELS_X86
extern const struct kernels kernels_avx2, kernels_avx512;

static bool has_avx2(void)
{
	return __builtin_cpu_supports("x86-64-v3");
}

static bool has_avx512(void)
{
	return __builtin_cpu_supports("x86-64-v4");
}
#endif

static bool has_base(void)
{
	return true;
}

/* Best first. */
static const struct {
	const struct kernels *kernels;
	bool (*here)(void);
} sets[] = {
#ifdef KERNELS_X86
	{ &kernels_avx512, has_avx512 },
	{ &kernels_avx2, has_avx2 },
#endif
	{ &kernels_base, has_base },
};

const struct kernels *kernels_find(void)
{
	const char *wish = getenv("SPRAT_ISA");

	for (int i = 0; i < ARRAY_SIZE(sets); i++) {
		if (wish && *wish && strcmp(wish, sets[i].kernels->name))
			continue;
		if (sets[i].here())
			return sets[i].kernels;
		if (wish && *wish) {
			fail_code(EXIT_USAGE, "SPRAT_ISA asks for '%s', which this processor does not have", wish);
			return NULL;
		}
	}
	fail_code(EXIT_USAGE, "SPRAT_ISA asks for '%s': choose base, avx2 or avx512", wish);
	return NULL;
}
