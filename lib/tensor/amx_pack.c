/* amx_pack.c - matrices laid out for AMX: packed, transposed, padded */
#include "lib/tensor/amx.h"

#ifdef ISA_X86
#include <immintrin.h>

/* Masks of the first n numbers. */
INLINE __mmask16 first_16(int n)
{
	return n >= 16 ? 0xffff : n > 0 ? (1u << n) - 1 : 0;
}

INLINE __mmask32 first_32(int n)
{
	return n >= 32 ? 0xffffffff : n > 0 ? (1u << n) - 1 : 0;
}

/* 32 numbers as bf16, of which mask says which count; the others are zeros. */
INLINE __m512i load_32(const void *at, enum dtype e, int64_t n, __mmask32 mask)
{
	const float *f = (const float *)at + n;

	if (e == BF16)
		return _mm512_maskz_loadu_epi16(mask, (const uint16_t *)at + n);
	return (__m512i)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(mask >> 16, f + 16), _mm512_maskz_loadu_ps((__mmask16)mask, f));
}

INLINE __m256i load_16(const void *at, enum dtype e, int64_t n, __mmask16 mask)
{
	if (e == BF16)
		return _mm256_maskz_loadu_epi16(mask, (const uint16_t *)at + n);
	return (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, (const float *)at + n));
}

/* Rows p and p+1 as pairs, 16 columns of them; rows below low or from high on are zeros. */
INLINE __m512i load_pairs(const void *at, enum dtype e, int64_t ld, int p, int low, int high, int64_t column, __mmask16 mask)
{
	__m512i first = _mm512_setzero_si512(), second = first;

	if (p >= low && p < high)
		first = _mm512_cvtepu16_epi32(load_16(at, e, p * ld + column, mask));
	if (p + 1 >= low && p + 1 < high)
		second = _mm512_cvtepu16_epi32(load_16(at, e, (p + 1) * ld + column, mask));
	return _mm512_or_si512(first, _mm512_slli_epi32(second, 16));
}

/* 16 x 16 of 32 bits. */
INLINE void transpose(__m512i r[16])
{
	__m512i t[16];

	for (int i = 0; i < 16; i += 2) {
		t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
		t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
	}
	for (int i = 0; i < 16; i += 4) {
		r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
		r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
		r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
		r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
	}
	for (int i = 0; i < 4; i++) {
		t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
		t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
		t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
		t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
	}
	for (int i = 0; i < 8; i++) {
		r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
		r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
	}
}

/* A step of a column panel: columns 16*column on, rows from start on, of which those below low stand in the step before. */
INLINE void pack_step(char *to, const struct amx_source *s, enum dtype e, int k, int n, int column, int start, int low)
{
	__mmask16 mask = first_16(n - 16 * column);

	for (int i = 0; i < amx_depth(k) / 2; i++)
		_mm512_store_si512(to + 64 * i, load_pairs(s->at, e, s->ld, start + 2 * i, low, k, 16 * column, mask));
}

INLINE void pack_transposed(char *to, const struct amx_source *s, enum dtype e, int k, int n, int column, int start, int low)
{
	__mmask32 mask = first_32(k - start) & ~first_32(low - start);
	__m512i r[16];

	for (int i = 0; i < 16; i++) {
		r[i] = _mm512_setzero_si512();
		if (16 * column + i < n)
			r[i] = load_32(s->at, e, (16 * column + i) * s->ld + start, mask);
	}
	transpose(r);
	for (int i = 0; i < 16; i++)
		_mm512_store_si512(to + 64 * i, r[i]);
}

INLINE void pack(char *to, int64_t panel_bytes, const struct amx_source *s, enum dtype e, bool transposed, int k, int n, int from,
		 int end)
{
	for (int column = from; column < end; column++, to += panel_bytes)
		for (int i = 0; i < amx_steps(k); i++)
			if (transposed)
				pack_transposed(to + i * AMX_STEP_BYTES, s, e, k, n, column, amx_start(k, i), i * AMX_DEPTH);
			else
				pack_step(to + i * AMX_STEP_BYTES, s, e, k, n, column, amx_start(k, i), i * AMX_DEPTH);
}

void amx_pack(char *to, int64_t panel_bytes, const struct amx_source *s, int k, int n, int from, int end)
{
	if (s->element == F32 && s->transposed)
		pack(to, panel_bytes, s, F32, true, k, n, from, end);
	else if (s->element == F32)
		pack(to, panel_bytes, s, F32, false, k, n, from, end);
	else if (s->transposed)
		pack(to, panel_bytes, s, BF16, true, k, n, from, end);
	else
		pack(to, panel_bytes, s, BF16, false, k, n, from, end);
}

void amx_transpose(char *to, int64_t pitch, const void *from, int64_t ld, int m, int k)
{
	for (int p = 0; p < k; p += AMX_DEPTH)
		for (int c = 0; c < m; c += 16) {
			__mmask16 mask = first_16(m - c);
			__m512i r[16];

			for (int i = 0; i < 16; i++)
				r[i] = load_pairs(from, BF16, ld, p + 2 * i, 0, k, c, mask);
			transpose(r);
			for (int i = 0; i < 16 && c + i < m; i++)
				_mm512_storeu_si512(to + (c + i) * pitch + p * 2, r[i]);
		}
}

void amx_pad(char *to, const void *from, int64_t ld, int m, int k)
{
	for (int i = 0; i < m; i++)
		_mm512_store_si512(to + 64 * i, load_32(from, BF16, i * ld, first_32(k)));
}
#endif
