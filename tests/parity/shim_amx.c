/*
 * shim_amx.c - AMX for machines with AVX512-BF16 and no more: lib/tensor/amx_run.c once more, its instructions written out in C
 *
 * What is linked with --wrap=amx_has,--wrap=amx_run multiplies bf16 by it after amx_emulate(true), as on a machine that has
 * AMX, only slowly; denormals are no zeros.
 */
#include "lib/tensor/amx.h"

int amx_emulate(bool on);

#ifdef ISA_X86
#include <immintrin.h>

bool __real_amx_has(enum dtype e);
bool __wrap_amx_has(enum dtype e);
void __real_amx_run(const struct amx_work *w);
void __wrap_amx_run(const struct amx_work *w);
void amx_run_emulated(const struct amx_work *w);

static bool emulates;

/* The registers, and what LDTILECFG said of them. */
static __thread struct {
	uint16_t bytes[8];
	uint8_t rows[8];
	uint8_t at[8][16][64];
} tmm;

static void load_config(const void *config)
{
	memset(&tmm, 0, sizeof(tmm));
	memcpy(tmm.bytes, (const char *)config + 16, sizeof(tmm.bytes));
	memcpy(tmm.rows, (const char *)config + 48, sizeof(tmm.rows));
}

static void zero(int t)
{
	memset(tmm.at[t], 0, sizeof(tmm.at[t]));
}

static void load(int t, const void *from, int64_t stride)
{
	zero(t);
	for (int i = 0; i < tmm.rows[t]; i++)
		memcpy(tmm.at[t][i], (const char *)from + i * stride, tmm.bytes[t]);
}

static void store(int t, void *to, int64_t stride)
{
	for (int i = 0; i < tmm.rows[t]; i++)
		memcpy((char *)to + i * stride, tmm.at[t][i], tmm.bytes[t]);
}

/* Number n of a row of bf16. */
static float number(const uint8_t *row, int n)
{
	uint32_t bits = 0;
	float f;

	memcpy((char *)&bits + 2, row + 2 * n, 2);
	memcpy(&f, &bits, 4);
	return f;
}

static void multiply(int c, int a, int b)
{
	float wide[2][16];

	for (int k = 0; k < tmm.bytes[a] / 4; k++) {
		for (int n = 0; n < 32; n++)
			wide[n % 2][n / 2] = number(tmm.at[b][k], n);
		for (int m = 0; m < tmm.rows[c]; m++) {
			float even = number(tmm.at[a][m], 2 * k), odd = number(tmm.at[a][m], 2 * k + 1), sum[16];

			memcpy(sum, tmm.at[c][m], 64);
			for (int n = 0; n < 16; n++)
				sum[n] = sum[n] + even * wide[0][n] + odd * wide[1][n];
			memcpy(tmm.at[c][m], sum, tmm.bytes[c]);
		}
	}
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig load_config
#define _tile_release() ((void)0)
#define _tile_zero zero
#define _tile_loadd load
#define _tile_stored store
#define _tile_dpbf16ps multiply
#define amx_run amx_run_emulated
#include "lib/tensor/amx_run.c"
#undef amx_run

bool __wrap_amx_has(enum dtype e)
{
	return emulates ? e == BF16 : __real_amx_has(e);
}

void __wrap_amx_run(const struct amx_work *w)
{
	if (emulates)
		amx_run_emulated(w);
	else
		__real_amx_run(w);
}
#endif

/* -1: not here. Between nets. */
int amx_emulate(bool on)
{
#ifdef ISA_X86
	emulates = on && isa() >= ISA_AVX512BF16;
	return emulates == on ? 0 : -1;
#else
	return on ? -1 : 0;
#endif
}
