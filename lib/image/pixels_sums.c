/* pixels_sums.c - weighted sums of bytes: with 22 fractional bits (resample.h), and those of a box filter (blur.h) */
#include "lib/image/pixels_isa.h"

enum { BITS = 22, HALF = 1 << (BITS - 1) };

#if defined(__AVX512BW__)

typedef __m512i windows;

/* Sixteen bytes for each four lanes. */
INLINE windows windows_load(const uint8_t *row, const int32_t *base)
{
	__m256i a = _mm256_loadu2_m128i((const __m128i *)(row + base[1]), (const __m128i *)(row + base[0]));
	__m256i b = _mm256_loadu2_m128i((const __m128i *)(row + base[3]), (const __m128i *)(row + base[2]));

	return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
}

INLINE ints windows_pick(windows w, ints at)
{
	return (ints)_mm512_shuffle_epi8(w, (__m512i)at);
}

#elif defined(__AVX2__)

typedef __m256i windows;

INLINE windows windows_load(const uint8_t *row, const int32_t *base)
{
	return _mm256_loadu2_m128i((const __m128i *)(row + base[1]), (const __m128i *)(row + base[0]));
}

INLINE ints windows_pick(windows w, ints at)
{
	return (ints)_mm256_shuffle_epi8(w, (__m256i)at);
}

#else

typedef const uint8_t *windows;

INLINE windows windows_load(const uint8_t *row, const int32_t *base)
{
	return row + base[0];
}

INLINE ints windows_pick(windows w, ints at)
{
	return (ints){ w[at[0] & 15], w[at[1] & 15], w[at[2] & 15], w[at[3] & 15] };
}

#endif

void ISA(pixels_quads)(const struct quads *q, int w, const uint8_t *const in[3], uint8_t *const out[3])
{
	for (int x = 0; x < w; x += LANES) {
		ints pick = lanes_at(q->pick + x), sum[3];
		windows window[3];

		for (int c = 0; c < 3; c++) {
			window[c] = windows_load(in[c], q->base + x / 4);
			sum[c] = lanes_all(HALF);
		}
		for (int k = 0; k < q->taps; k++, pick += 1) {
			ints weight = lanes_at(q->weight + (size_t)k * q->pitch + x);

			for (int c = 0; c < 3; c++)
				sum[c] += windows_pick(window[c], pick) * weight;
		}
		for (int c = 0; c < 3; c++)
			lanes_store(out[c] + x, lanes_clip(sum[c] >> BITS));
	}
}

/* Where outputs have many taps, far apart: these are what a vector holds. */
void ISA(pixels_columns)(const struct axis *a, int w, const uint8_t *const in[3], uint8_t *const out[3])
{
	for (int x = 0; x < w; x++)
		for (int c = 0; c < 3; c++) {
			const uint8_t *p = in[c] + a->first[x];
			const int32_t *weight = a->weight + (size_t)x * a->pitch;
			ints sum = { 0 };
			int32_t v;

			for (int k = 0; k < a->count[x]; k += LANES)
				sum += lanes_load(p + k) * lanes_at(weight + k);
			v = (lanes_sum(sum) + HALF) >> BITS;
			out[c][x] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
		}
}

/* AT_ONCE vectors side by side share the weights and the count of the loop. */
INLINE void rows_block(const uint8_t *in, size_t pitch, int count, const int32_t *weight, uint8_t *out, int at_once)
{
	ints sum[4];

	for (int i = 0; i < at_once; i++)
		sum[i] = lanes_all(HALF);
	for (int k = 0; k < count; k++, in += pitch)
		for (int i = 0; i < at_once; i++)
			sum[i] += lanes_load(in + i * LANES) * weight[k];
	for (int i = 0; i < at_once; i++)
		lanes_store(out + i * LANES, lanes_clip(sum[i] >> BITS));
}

void ISA(pixels_rows)(const uint8_t *in, size_t pitch, int w, int count, const int32_t *weight, uint8_t *out)
{
	int x = 0;

	for (; x + 4 * LANES <= w; x += 4 * LANES)
		rows_block(in + x, pitch, count, weight, out + x, 4);
	for (; x < w; x += LANES)
		rows_block(in + x, pitch, count, weight, out + x, 1);
}

/* --- the extended box filter of blur.h: the same whether the rows are neighbours or one row shifted --- */

INLINE void box(const uint8_t *const *in, int radius, uint32_t inner, uint32_t outer, int w, uint8_t *out)
{
	typedef uint32_t words __attribute__((vector_size(LANES * 4)));
	int last = 2 * radius + 2;

	for (int x = 0; x < w; x += LANES) {
		ints sum = lanes_load(in[1] + x), edges = lanes_load(in[0] + x) + lanes_load(in[last] + x);

		for (int k = 2; k < last; k++)
			sum += lanes_load(in[k] + x);
		lanes_store(out + x, (ints)(((words)sum * inner + (words)edges * outer + (1u << 23)) >> 24));
	}
}

/* Every sigma up to 2 has radius 0 or 1. */
void ISA(pixels_box)(const uint8_t *const *in, int radius, uint32_t inner, uint32_t outer, int w, uint8_t *out)
{
	if (radius == 0)
		box(in, 0, inner, outer, w, out);
	else if (radius == 1)
		box(in, 1, inner, outer, w, out);
	else
		box(in, radius, inner, outer, w, out);
}
