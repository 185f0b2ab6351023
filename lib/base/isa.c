#include "lib/base/isa.h"

static bool has_base(void)
{
	return true;
}

#ifdef ISA_X86
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#define X86(f) f
#define HAS __builtin_cpu_supports

/* By name: clang 14 does not know the levels. Whatever has these four has the rest of x86-64-v3. */
static bool has_avx2(void)
{
	return HAS("avx2") && HAS("fma") && HAS("bmi") && HAS("bmi2");
}

static bool has_avx512(void)
{
	return has_avx2() && HAS("avx512f") && HAS("avx512bw") && HAS("avx512cd") && HAS("avx512dq") && HAS("avx512vl");
}

static bool has_avx512bf16(void)
{
	return has_avx512() && HAS("avx512bf16");
}

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA 18

/* CPUID leaf 7: EDX bits 22 and 24 (clang 14 does not know these by name) */
static bool has_amx_bf16(void)
{
	unsigned a, b, c, d, wanted = 1u << 22 | 1u << 24;

	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & wanted) == wanted;
}

/* Linux lets those use it who have asked. */
static bool has_amx(void)
{
	return has_avx512bf16() && has_amx_bf16() && syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}
#else
#define X86(f) NULL
#endif

static const struct level {
	const char *name;
	bool (*has)(void);       /* whether the machine does; NULL: no such machine does */
} levels[ISAS] = {
	[ISA_PLAIN] = { "base", has_base },
	[ISA_AVX2] = { "avx2", X86(has_avx2) },
	[ISA_AVX512] = { "avx512", X86(has_avx512) },
	[ISA_AVX512BF16] = { "avx512bf16", X86(has_avx512bf16) },
	[ISA_AMX] = { "amx", X86(has_amx) },
};

static int chosen = -1;

static bool is_here(int i)
{
	return levels[i].has && levels[i].has();
}

static int most(void)
{
	int i = ISAS - 1;

	while (!is_here(i))
		i--;
	return i;
}

int isa_choose(const char *name)
{
	int i = 0;

	if (!name || !*name) {
		chosen = most();
		return 0;
	}
	while (i < ISAS && strcmp(name, levels[i].name))
		i++;
	if (i == ISAS)
		return fail_code(EXIT_USAGE, "SPRAT_ISA asks for '%s': choose base, avx2, avx512, avx512bf16 or amx", name);
	if (!is_here(i))
		return fail_code(EXIT_USAGE, "SPRAT_ISA asks for '%s': here there is no more than %s", name, levels[most()].name);
	chosen = i;
	return 0;
}

int isa_init(void)
{
	return isa_choose(getenv("SPRAT_ISA"));
}

/* Tests have no main of ours. */
enum isa isa(void)
{
	if (chosen < 0 && isa_init() < 0)
		bug("%s", why());
	return chosen;
}

const char *isa_name(enum isa i)
{
	return levels[i].name;
}
