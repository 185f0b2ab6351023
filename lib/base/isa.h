/*
 * isa.h - which vector instructions sprat's own kernels may use
 *
 * Programs are built for plain x86-64 (or any other machine); hot loops are written once as an inline body and compiled
 * again for wider registers. The choice is made once, by what the processor has and by SPRAT_ISA=base|avx2|avx512, which
 * can only lower it.
 *
 *	static inline __attribute__((always_inline)) float sum_body(const float *x, int n) { ... }
 *	WIDE_AVX512 static float sum_avx512(const float *x, int n) { return sum_body(x, n); }
 *	WIDE_AVX2 static float sum_avx2(const float *x, int n) { return sum_body(x, n); }
 *	static float sum_plain(const float *x, int n) { return sum_body(x, n); }
 *	static float (*const sums[])(const float *, int) = { sum_plain, sum_avx2, sum_avx512 };
 *	...
 *	total = sums[isa()](x, n);
 *
 * A wing with many such loops keeps them in files kernels_*.c, which the Makefile compiles once for each set, with KERNELS_ISA
 * naming it: ISA(sum) is then sum_base, sum_avx2 or sum_avx512, and the wing's kernels.c chooses among tables of them.
 * A build with -DPLAIN has nothing to choose from, as on processors of another kind.
 */
#ifndef BASE_ISA_H
#define BASE_ISA_H

#if defined(__x86_64__) && !defined(PLAIN)
#define ISA_X86
#endif

enum isa { ISA_PLAIN, ISA_AVX2, ISA_AVX512 };

/* AVX2 means x86-64-v3 (FMA, BMI, F16C); AVX-512 means x86-64-v4 (F, BW, CD, DQ, VL). isa_widest() does not ask SPRAT_ISA. */
enum isa isa(void);
enum isa isa_widest(void);
const char *isa_name(enum isa i);

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
#define ISA_TEXT2(a) #a
#define ISA_TEXT(a) ISA_TEXT2(a)
#define INLINE static inline __attribute__((always_inline))

#endif
