/*
 * isa.h - which vector instructions sprat's own kernels may use
 *
 * Programs are built for plain x86-64 (or any other machine); hot loops are written once as an inline body and compiled
 * again for wider registers. The choice is made once, when a program starts: the most that the machine has, or what
 * SPRAT_ISA=base|avx2|avx512|avx512bf16|amx in the environment names, no more and no less. Levels are in order: each has what
 * those before it have, and a table of loops may end before the last.
 *
 *	static inline __attribute__((always_inline)) float sum_body(const float *x, int n) { ... }
 *	WIDE_AVX512 static float sum_avx512(const float *x, int n) { return sum_body(x, n); }
 *	WIDE_AVX2 static float sum_avx2(const float *x, int n) { return sum_body(x, n); }
 *	static float sum_plain(const float *x, int n) { return sum_body(x, n); }
 *	static float (*const sums[])(const float *, int) = { sum_plain, sum_avx2, sum_avx512 };
 *	...
 *	total = ISA_ROW(sums)(x, n);
 *
 * A wing with many such loops keeps them in files of their own (kernels_*.c, pixels_*.c), which the Makefile compiles once for
 * each set, with KERNELS_ISA naming it: ISA(sum) is then sum_base, sum_avx2 or sum_avx512; kernels.c and pixels.c choose.
 * A build with -DPLAIN has the base alone, as processors of another kind have.
 */
#ifndef BASE_ISA_H
#define BASE_ISA_H

#include "lib/base/base.h"

#if defined(__x86_64__) && !defined(PLAIN)
#define ISA_X86
#endif

/*
 * AVX2 means x86-64-v3 (FMA, BMI, F16C); AVX-512 means x86-64-v4 (F, BW, CD, DQ, VL); avx512bf16 adds products of bf16 and
 * rounding to it, amx products of bf16 by registers that hold a matrix.
 */
enum isa { ISA_PLAIN, ISA_AVX2, ISA_AVX512, ISA_AVX512BF16, ISA_AMX, ISAS };

/* Chooses as SPRAT_ISA says; first thing of every main after its options. 0, or -1 after fail_code(). */
int isa_init(void);
/* The level of that name, NULL or "": the most that the machine has. For tests, between what uses it. */
int isa_choose(const char *name);
/* The level chosen. */
enum isa isa(void);
const char *isa_name(enum isa i);

/* Of an array whose rows are for the levels from ISA_PLAIN on: the last one that is allowed here. */
#define ISA_ROW(rows) ((rows)[MIN((size_t)isa(), ARRAY_SIZE(rows) - 1)])

#ifdef ISA_X86
#define WIDE_AVX2 __attribute__((target("arch=x86-64-v3")))
#ifdef __clang__ /* knows no such word, and takes the whole width by itself */
#define WIDE_AVX512 __attribute__((target("arch=x86-64-v4")))
#else
#define WIDE_AVX512 __attribute__((target("arch=x86-64-v4,prefer-vector-width=512")))
#endif
#else
#define WIDE_AVX2
#define WIDE_AVX512
#endif

#ifndef KERNELS_ISA
#define KERNELS_ISA base
#endif
#define ISA_JOIN2(a, b) a##_##b
#define ISA_JOIN(a, b) ISA_JOIN2(a, b)
#define ISA(name) ISA_JOIN(name, KERNELS_ISA)
#define INLINE static inline __attribute__((always_inline))

#endif
