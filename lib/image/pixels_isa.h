/*
 * pixels_isa.h - pixels as vectors of 32-bit lanes, as wide as the registers of the instruction set a file is compiled for
 *
 * What pixels_*.c are written in: arithmetic is plain (GCC's vector extension), only what C has no word for is here. Loads and
 * stores always move LANES bytes, so buffers have room for LANES more than they hold.
 *
 *	for (size_t i = 0; i < n; i += LANES)
 *		lanes_store(x + i, lanes_clip(lanes_load(x + i) * 3 / 2));
 */
#ifndef IMAGE_PIXELS_ISA_H
#define IMAGE_PIXELS_ISA_H

#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "lib/base/isa.h"
#include "lib/image/pixels.h"

#if defined(__AVX512BW__)
enum { LANES = 16 };
#elif defined(__AVX2__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
typedef int32_t ints __attribute__((vector_size(LANES * 4), may_alias));
typedef float floats __attribute__((vector_size(LANES * 4), may_alias));

INLINE ints lanes_all(int32_t x)
{
	return (ints){ 0 } + x;
}

/* Lanes at any address. */
INLINE ints lanes_at(const int32_t *p)
{
	ints v;

	memcpy(&v, p, sizeof(v));
	return v;
}

INLINE floats lanes_float(ints v)
{
	return __builtin_convertvector(v, floats);
}

/* Towards zero. */
INLINE ints lanes_int(floats v)
{
	return __builtin_convertvector(v, ints);
}

/* a where mask is set (-1), else b (0). */
INLINE ints lanes_choose(ints mask, ints a, ints b)
{
	return (mask & a) | (~mask & b);
}

#if defined(__AVX512BW__)

/* Bytes to lanes. */
INLINE ints lanes_load(const uint8_t *p)
{
	return (ints)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
}

/* The lowest byte of each lane. */
INLINE void lanes_store(uint8_t *p, ints v)
{
	_mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8((__m512i)v));
}

INLINE int32_t lanes_sum(ints v)
{
	return _mm512_reduce_add_epi32((__m512i)v);
}

INLINE ints lanes_max(ints a, ints b)
{
	return (ints)_mm512_max_epi32((__m512i)a, (__m512i)b);
}

INLINE ints lanes_min(ints a, ints b)
{
	return (ints)_mm512_min_epi32((__m512i)a, (__m512i)b);
}

#elif defined(__AVX2__)

INLINE ints lanes_load(const uint8_t *p)
{
	return (ints)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
}

INLINE void lanes_store(uint8_t *p, ints v)
{
	const __m256i lowest = _mm256_set1_epi32(0x0c080400);
	__m256i bytes = _mm256_shuffle_epi8((__m256i)v, lowest);

	_mm_storel_epi64((__m128i *)p, _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1)));
}

INLINE int32_t lanes_sum(ints v)
{
	__m128i half = _mm_add_epi32(_mm256_castsi256_si128((__m256i)v), _mm256_extracti128_si256((__m256i)v, 1));

	half = _mm_hadd_epi32(half, half);
	return _mm_cvtsi128_si32(_mm_hadd_epi32(half, half));
}

INLINE ints lanes_max(ints a, ints b)
{
	return (ints)_mm256_max_epi32((__m256i)a, (__m256i)b);
}

INLINE ints lanes_min(ints a, ints b)
{
	return (ints)_mm256_min_epi32((__m256i)a, (__m256i)b);
}

#else

#if defined(__SSE2__)

INLINE ints lanes_load(const uint8_t *p)
{
	int32_t four;
	__m128i zero = _mm_setzero_si128();

	memcpy(&four, p, 4);
	return (ints)_mm_unpacklo_epi16(_mm_unpacklo_epi8(_mm_cvtsi32_si128(four), zero), zero);
}

INLINE void lanes_store(uint8_t *p, ints v)
{
	__m128i words = _mm_packs_epi32((__m128i)(v & 255), _mm_setzero_si128());
	int32_t four = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));

	memcpy(p, &four, 4);
}

#else

INLINE ints lanes_load(const uint8_t *p)
{
	return (ints){ p[0], p[1], p[2], p[3] };
}

INLINE void lanes_store(uint8_t *p, ints v)
{
	for (int i = 0; i < LANES; i++)
		p[i] = (uint8_t)v[i];
}

#endif

INLINE int32_t lanes_sum(ints v)
{
	return v[0] + v[1] + v[2] + v[3];
}

INLINE ints lanes_max(ints a, ints b)
{
	return lanes_choose(a > b, a, b);
}

INLINE ints lanes_min(ints a, ints b)
{
	return lanes_choose(a < b, a, b);
}

#endif

/* 0 to 255. */
INLINE ints lanes_clip(ints v)
{
	return lanes_min(lanes_max(v, (ints){ 0 }), lanes_all(255));
}

/* Defined in the files below for each set; pixels_table.c puts them together. */
#define PIXELS_PROTOTYPE(type, name, arguments) type ISA(pixels_##name)arguments;
PIXELS(PIXELS_PROTOTYPE)

#endif
