#include "lib/probe/nearest.h"
#include "lib/base/isa.h"

#include <math.h>

enum { RUN = 64 };

/* How many of the n scores exceed the floor. */
static inline __attribute__((always_inline)) int passing_body(const float *x, const float *scale, const float *shift, int n, float floor)
{
	int count = 0;

#pragma omp simd reduction(+ : count)
	for (int j = 0; j < n; j++)
		count += x[j] * scale[j] + shift[j] > floor;
	return count;
}

#define WIDTH(suffix, target)                                                                                               \
	target static int passing_##suffix(const float *x, const float *scale, const float *shift, int n, float floor)      \
	{                                                                                                                   \
		return passing_body(x, scale, shift, n, floor);                                                             \
	}
WIDTH(plain, )
WIDTH(avx2, WIDE_AVX2)
WIDTH(avx512, WIDE_AVX512)

static int (*const passing[])(const float *, const float *, const float *, int, float) = {
	[ISA_PLAIN] = passing_plain,
	[ISA_AVX2] = passing_avx2,
	[ISA_AVX512] = passing_avx512,
};

static bool worse(struct near a, struct near b)
{
	return a.score != b.score ? a.score < b.score : a.index > b.index;
}

void nearest_clear(struct nearest *h)
{
	h->count = 0;
}

/* Puts item where the heap has a hole, at i or below it. */
static void sink(struct nearest *h, int i, struct near item)
{
	for (;;) {
		int child = 2 * i + 1;

		if (child >= h->count)
			break;
		if (child + 1 < h->count && worse(h->items[child + 1], h->items[child]))
			child++;
		if (!worse(h->items[child], item))
			break;
		h->items[i] = h->items[child];
		i = child;
	}
	h->items[i] = item;
}

static void rise(struct nearest *h, struct near item)
{
	int i = h->count++;

	while (i > 0 && worse(item, h->items[(i - 1) / 2])) {
		h->items[i] = h->items[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	h->items[i] = item;
}

void nearest_offer(struct nearest *h, const float *x, const float *scale, const float *shift, int n, int32_t first)
{
	for (int from = 0; from < n; from += RUN) {
		int to = MIN(n, from + RUN);

		if (h->count == h->k && !passing[isa()](x + from, scale + from, shift + from, to - from, h->items[0].score))
			continue;
		for (int j = from; j < to; j++) {
			struct near item = { x[j] * scale[j] + shift[j], first + j };

			if (h->count < h->k)
				rise(h, item);
			else if (worse(h->items[0], item))
				sink(h, 0, item);
		}
	}
}

void nearest_sort(struct nearest *h)
{
	int all = h->count;

	while (h->count > 1) {
		struct near last = h->items[--h->count];

		h->items[h->count] = h->items[0];
		sink(h, 0, last);
	}
	h->count = all;
}
