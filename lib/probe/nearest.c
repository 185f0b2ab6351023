#include "lib/probe/nearest.h"
#include "lib/base/isa.h"

#include <math.h>

/* --- keys: the score's bits, turned so that they compare as whole numbers, above the index, turned round --- */

static inline __attribute__((always_inline)) nearest_key make_key(float score, int32_t index)
{
	uint32_t bits;

	memcpy(&bits, &score, sizeof(bits));
	bits ^= bits >> 31 ? 0xffffffff : 0x80000000;
	return (nearest_key)bits << 32 | (uint32_t)~index;
}

float nearest_score(nearest_key key)
{
	uint32_t bits = (uint32_t)(key >> 32);
	float score;

	bits ^= bits >> 31 ? 0x80000000 : 0xffffffff;
	memcpy(&score, &bits, sizeof(score));
	return score;
}

int32_t nearest_index(nearest_key key)
{
	return (int32_t)~(uint32_t)key;
}

/* --- selection --- */

static void swap(nearest_key *a, nearest_key *b)
{
	nearest_key t = *a;

	*a = *b;
	*b = t;
}

/* Larger keys than the pivot, the middle one of three, go to the front; returns where the pivot ends up. */
static int partition(nearest_key *keys, int lo, int hi)
{
	int mid = lo + (hi - lo) / 2, front = lo;
	nearest_key pivot;

	if (keys[mid] > keys[lo])
		swap(&keys[mid], &keys[lo]);
	if (keys[hi] > keys[lo])
		swap(&keys[hi], &keys[lo]);
	if (keys[mid] > keys[hi])
		swap(&keys[mid], &keys[hi]);
	pivot = keys[hi];
	for (int i = lo; i < hi; i++) {
		nearest_key key = keys[i];
		bool better = key > pivot;

		keys[i] = keys[front];
		keys[front] = key;
		front += better;
	}
	swap(&keys[front], &keys[hi]);
	return front;
}

/* Hoare's selection: the k best first, the worst of them last. */
static void compact(struct nearest *h)
{
	int lo = 0, hi = h->count - 1, want = h->k - 1;

	while (lo < hi) {
		int at = partition(h->keys, lo, hi);

		if (at == want)
			break;
		if (at < want)
			lo = at + 1;
		else
			hi = at - 1;
	}
	h->count = h->k;
	h->floor = nearest_score(h->keys[want]);
}

static int descending(const void *a, const void *b)
{
	nearest_key x = *(const nearest_key *)a, y = *(const nearest_key *)b;

	return (x < y) - (x > y);
}

void nearest_clear(struct nearest *h)
{
	h->count = 0;
	h->floor = -INFINITY;
}

void nearest_sort(struct nearest *h)
{
	if (h->count > h->k)
		compact(h);
	qsort(h->keys, h->count, sizeof(*h->keys), descending);
}

/* --- the stream --- */

/* Scores are compared many at a time into bytes, so that eight of them without a better one are passed over by one test. */
#define WORD ((int)sizeof(uint64_t))

/* Most of the words that are looked at hold one or two: all are written, and the count moves on past those that pass. */
static inline __attribute__((always_inline)) void offer_group(struct nearest *h, const float *x, const float *scale,
							      const float *shift, int n, int32_t first)
{
	uint8_t passes[NEAREST_RUN] = { 0 };
	float floor = h->floor;

#pragma omp simd
	for (int j = 0; j < n; j++)
		passes[j] = x[j] * scale[j] + shift[j] > floor;
	for (int from = 0; from < n; from += WORD) {
		uint64_t word;

		memcpy(&word, passes + from, sizeof(word));
		if (!word)
			continue;
		for (int j = from; j < MIN(n, from + WORD); j++) {
			h->keys[h->count] = make_key(x[j] * scale[j] + shift[j], first + j);
			h->count += passes[j];
		}
	}
	if (h->count > NEAREST_ROOM(h->k) - NEAREST_RUN)
		compact(h);
}

static inline __attribute__((always_inline)) void offer_body(struct nearest *h, const float *x, const float *scale,
							     const float *shift, int n, int32_t first)
{
	int j = 0;

	for (; j + NEAREST_RUN <= n; j += NEAREST_RUN)
		offer_group(h, x + j, scale + j, shift + j, NEAREST_RUN, first + j);
	if (j < n)
		offer_group(h, x + j, scale + j, shift + j, n - j, first + j);
}

#define WIDTH(suffix, target)                                                                                        \
	target static void offer_##suffix(struct nearest *h, const float *x, const float *scale, const float *shift, \
					  int n, int32_t first)                                                      \
	{                                                                                                            \
		offer_body(h, x, scale, shift, n, first);                                                            \
	}
WIDTH(plain, )
WIDTH(avx2, WIDE_AVX2)
WIDTH(avx512, WIDE_AVX512)

static void (*const offers[])(struct nearest *, const float *, const float *, const float *, int, int32_t) = {
	[ISA_PLAIN] = offer_plain,
	[ISA_AVX2] = offer_avx2,
	[ISA_AVX512] = offer_avx512,
};

void nearest_offer(struct nearest *h, const float *x, const float *scale, const float *shift, int n, int32_t first)
{
	ISA_ROW(offers)(h, x, scale, shift, n, first);
}
