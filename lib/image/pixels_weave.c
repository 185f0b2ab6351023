/* pixels_weave.c - interleaved pixels to rows of one channel and back, 16 at a time */
#include "lib/image/pixels_isa.h"

enum { BLOCK = 16 };

#if defined(__SSSE3__)

/* Where byte i of a result comes from in source k of three, or -128: not from there. SPLIT: channel c out of 48 interleaved
 * bytes; JOIN: the c-th 16 of these out of three channels; TURN: the same from right to left. */
#define SPLIT(i, c, k) (3 * (i) + (c)) / BLOCK == (k) ? (3 * (i) + (c)) % BLOCK : -128
#define JOIN(i, c, k) (BLOCK * (c) + (i)) % 3 == (k) ? (BLOCK * (c) + (i)) / 3 : -128
#define TURN(i, c, k) (BLOCK * (c) + (i)) % 3 == (k) ? BLOCK - 1 - (BLOCK * (c) + (i)) / 3 : -128
#define FOUR(f, i, c, k) f(i, c, k), f(i + 1, c, k), f(i + 2, c, k), f(i + 3, c, k)
#define BYTES(f, c, k) { FOUR(f, 0, c, k), FOUR(f, 4, c, k), FOUR(f, 8, c, k), FOUR(f, 12, c, k) }
#define SOURCES(f, c) { BYTES(f, c, 0), BYTES(f, c, 1), BYTES(f, c, 2) }
#define WEAVE(f) { SOURCES(f, 0), SOURCES(f, 1), SOURCES(f, 2) }

struct weave {
	int8_t from[3][3][BLOCK];
};
static const struct weave split = { WEAVE(SPLIT) }, join = { WEAVE(JOIN) }, turn = { WEAVE(TURN) };

INLINE void weave(const struct weave *w, const uint8_t *const in[3], uint8_t *const out[3])
{
	__m128i v[3];

	for (int k = 0; k < 3; k++)
		v[k] = _mm_loadu_si128((const __m128i *)in[k]);
	for (int c = 0; c < 3; c++) {
		__m128i sum = _mm_setzero_si128();

		for (int k = 0; k < 3; k++)
			sum = _mm_or_si128(sum, _mm_shuffle_epi8(v[k], _mm_loadu_si128((const __m128i *)w->from[c][k])));
		_mm_storeu_si128((__m128i *)out[c], sum);
	}
}

INLINE void split_block(const uint8_t *rgb, uint8_t *const to[3], int x)
{
	weave(&split, (const uint8_t *[]){ rgb, rgb + BLOCK, rgb + 2 * BLOCK }, (uint8_t *[]){ to[0] + x, to[1] + x, to[2] + x });
}

INLINE void join_block(const uint8_t *const from[3], int x, bool mirror, uint8_t *rgb)
{
	weave(mirror ? &turn : &join, (const uint8_t *[]){ from[0] + x, from[1] + x, from[2] + x },
	      (uint8_t *[]){ rgb, rgb + BLOCK, rgb + 2 * BLOCK });
}

#else

INLINE void split_block(const uint8_t *rgb, uint8_t *const to[3], int x)
{
	for (int i = 0; i < 3 * BLOCK; i++)
		to[i % 3][x + i / 3] = rgb[i];
}

INLINE void join_block(const uint8_t *const from[3], int x, bool mirror, uint8_t *rgb)
{
	for (int i = 0; i < 3 * BLOCK; i++)
		rgb[i] = from[i % 3][x + (mirror ? BLOCK - 1 - i / 3 : i / 3)];
}

#endif

void ISA(pixels_split)(const uint8_t *rgb, int w, uint8_t *const to[3])
{
	uint8_t last[3 * BLOCK];
	int x = 0;

	for (; x + BLOCK <= w; x += BLOCK)
		split_block(rgb + 3 * x, to, x);
	if (x == w)
		return;
	memcpy(last, rgb + 3 * x, 3 * (w - x));
	split_block(last, to, x);
}

void ISA(pixels_join)(const uint8_t *const from[3], int w, bool mirror, uint8_t *rgb)
{
	uint8_t last[3 * BLOCK];
	int x = 0;

	for (; x + BLOCK <= w; x += BLOCK)
		join_block(from, x, mirror, rgb + 3 * (mirror ? w - BLOCK - x : x));
	if (x == w)
		return;
	join_block(from, x, mirror, last);
	memcpy(mirror ? rgb : rgb + 3 * x, mirror ? last + 3 * (BLOCK - (w - x)) : last, 3 * (w - x));
}
