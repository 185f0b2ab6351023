#include "lib/base/isa.h"
#include "lib/base/base.h"

static const char *const names[] = { [ISA_PLAIN] = "base", [ISA_AVX2] = "avx2", [ISA_AVX512] = "avx512" };

#ifdef ISA_X86
#define HAS __builtin_cpu_supports

/* By name: clang 14 does not know the levels. Whatever has these four has the rest of x86-64-v3. */
static bool has_v3(void)
{
	return HAS("avx2") && HAS("fma") && HAS("bmi") && HAS("bmi2");
}

static bool has_v4(void)
{
	return HAS("avx512f") && HAS("avx512bw") && HAS("avx512cd") && HAS("avx512dq") && HAS("avx512vl");
}

enum isa isa_widest(void)
{
	__builtin_cpu_init();
	return !has_v3() ? ISA_PLAIN : has_v4() ? ISA_AVX512 : ISA_AVX2;
}
#else
enum isa isa_widest(void)
{
	return ISA_PLAIN;
}
#endif

enum isa isa(void)
{
	static int known = -1;
	const char *asked;

	if (known >= 0)
		return known;
	asked = getenv("SPRAT_ISA");
	known = isa_widest();
	for (int i = 0; asked && i < known; i++)
		if (strcmp(asked, names[i]) == 0)
			known = i;
	return known;
}

const char *isa_name(enum isa i)
{
	return names[i];
}
