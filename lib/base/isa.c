#include "lib/base/isa.h"
#include "lib/base/base.h"

static const char *const names[] = { [ISA_PLAIN] = "base", [ISA_AVX2] = "avx2", [ISA_AVX512] = "avx512" };

static enum isa widest(void)
{
#if defined(__x86_64__)
	__builtin_cpu_init();
	if (__builtin_cpu_supports("x86-64-v4"))
		return ISA_AVX512;
	if (__builtin_cpu_supports("x86-64-v3"))
		return ISA_AVX2;
#endif
	return ISA_PLAIN;
}

enum isa isa(void)
{
	static int known = -1;
	const char *asked;

	if (known >= 0)
		return known;
	asked = getenv("SPRAT_ISA");
	known = widest();
	for (int i = 0; asked && i < known; i++)
		if (strcmp(asked, names[i]) == 0)
			known = i;
	return known;
}

const char *isa_name(enum isa i)
{
	return names[i];
}
