/* Random numbers: Random123's known answers, streams that do not meet, draws without bias, permutations that are permutations. */
#include "lib/base/base.h"
#include "lib/base/rng.h"
#include "tests/check.h"

#include <math.h>

/* kat_vectors of Random123 (Salmon et al. 2011), philox4x32 10. */
static const struct vector {
	const char *name;
	uint32_t counter[4], key[2], out[4];
} vectors[] = {
	{ "zeros", { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
	{ "ones", { -1, -1, -1, -1 }, { -1, -1 }, { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
	{ "pi",
	  { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 },
	  { 0xa4093822, 0x299f31d0 },
	  { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
};

static void test_vectors(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		uint32_t out[4];
		char name[64];

		philox4x32(vectors[i].counter, vectors[i].key, out);
		snprintf(name, sizeof(name), "philox4x32-10 of %s", vectors[i].name);
		check(name, memcmp(out, vectors[i].out, sizeof(out)) == 0, "%08x %08x %08x %08x", out[0], out[1], out[2], out[3]);
	}
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The first pairs of words of many streams, each argument varied alone: no two alike, as 64-bit words never are by chance. */
static void test_streams(void)
{
	enum { EACH = 1000, ALL = 6 * EACH };
	uint64_t *seen = xcalloc(ALL, sizeof(*seen));
	int same = 0;

	for (uint32_t i = 0; i < EACH; i++) {
		struct rng r[6] = {
			rng_at(1 + i, 0, 0, 0, 1), rng_at((2ULL + i) << 32, 0, 0, 0, 1),
			rng_at(0, 1 + i, 0, 0, 1), rng_at(0, 0, 1 + i, 0, 1),
			rng_at(0, 0, 0, 1 + i, 1), rng_at(0, 0, 0, 0, 2 + i),
		};

		for (int k = 0; k < 6; k++) {
			uint64_t hi = rng_u32(&r[k]);

			seen[6 * i + k] = hi << 32 | rng_u32(&r[k]);
		}
	}
	qsort(seen, ALL, sizeof(*seen), by_value);
	for (int i = 1; i < ALL; i++)
		same += seen[i] == seen[i - 1];
	check("every argument leads to a stream of its own", same == 0, "%d of %d begin alike", same, ALL);
	free(seen);
}

static void test_repeats(void)
{
	struct rng a = rng_at(7, 1, 2, 3, 4), b = rng_at(7, 1, 2, 3, 4);
	uint32_t word[100];
	bool same = true, repeated = false;

	for (int i = 0; i < 100; i++) {
		word[i] = rng_u32(&a);
		same &= word[i] == rng_u32(&b);
		for (int k = 0; k < i; k++)
			repeated |= word[k] == word[i];
	}
	check("a stream is a function of its arguments", same, "two differ");
	check("a stream goes on from block to block", !repeated, "words come again");
}

/* Whether counts of n equally likely outcomes in draws look so: chi-square within 5 standard deviations. */
static bool even(const int *counts, int n, double draws)
{
	double expected = draws / n, chi = 0;

	for (int i = 0; i < n; i++)
		chi += (counts[i] - expected) * (counts[i] - expected) / expected;
	return fabs(chi - (n - 1)) < 5 * sqrt(2.0 * MAX(n - 1, 1)) + 5;
}

static void test_below(void)
{
	static const uint32_t sizes[] = { 1, 2, 3, 7, 1000 };
	struct rng r = rng_at(1, 2, 3, 4, 5);
	int low = 0;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		int counts[1000] = { 0 }, draws = 200 * sizes[i] + 10000, beyond = 0;
		char name[64];

		for (int k = 0; k < draws; k++) {
			uint32_t x = rng_below(&r, sizes[i]);

			beyond += x >= sizes[i];
			counts[x % sizes[i]]++;
		}
		snprintf(name, sizeof(name), "rng_below %u is uniform", sizes[i]);
		check(name, beyond == 0 && even(counts, sizes[i], draws), "%d beyond the range, or uneven", beyond);
	}
	for (int k = 0; k < 30000; k++) /* a remainder would favour the lower half of 3 * 2^30 by 2 to 1 */
		low += rng_below(&r, 3u << 30) < 3u << 29;
	check("rng_below has no bias for large n", abs(low - 15000) < 5 * 87, "%d of 30000 in the lower half", low);
}

static void test_reals(void)
{
	enum { N = 200000 };
	struct rng r = rng_at(9, 8, 7, 6, 5);
	double sum[5] = { 0 }, least = 1, most = 0;
	bool inside = true;

	for (int i = 0; i < N; i++) {
		double u = rng_uniform(&r), z = rng_normal(&r), b = rng_between(&r, -2, 3);

		least = fmin(least, u);
		most = fmax(most, u);
		inside &= b >= -2 && b < 3 && isfinite(z);
		sum[0] += u;
		sum[1] += z;
		sum[2] += z * z;
		sum[3] += z * z * z * z;
		sum[4] += b;
	}
	check("rng_uniform fills [0, 1)", least >= 0 && least < 1e-4 && most < 1 && most > 1 - 1e-4, "%g to %g", least, most);
	check("rng_uniform has mean 1/2", fabs(sum[0] / N - 0.5) < 0.004, "%g", sum[0] / N);
	check("rng_between stays inside", inside && fabs(sum[4] / N - 0.5) < 0.02, "mean %g", sum[4] / N);
	check("rng_normal has the moments of N(0, 1)",
	      fabs(sum[1] / N) < 0.012 && fabs(sum[2] / N - 1) < 0.017 && fabs(sum[3] / N - 3) < 0.12,
	      "mean %g, square %g, fourth power %g", sum[1] / N, sum[2] / N, sum[3] / N);
}

static bool bijective(uint32_t n, uint32_t epoch, int *fixed)
{
	bool *hit = xcalloc(n, sizeof(*hit)), good = true;

	*fixed = 0;
	for (uint32_t i = 0; i < n && good; i++) {
		uint32_t x = rng_permute(3, epoch, RNG_ORDER, n, i);

		good = x < n && !hit[x];
		if (good)
			hit[x] = true;
		*fixed += x == i;
	}
	free(hit);
	return good;
}

static void test_permutations(void)
{
	static const uint32_t sizes[] = { 1, 2, 3, 4, 5, 16, 17, 255, 257, 1000, 4096, 50000 };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		bool good = true;
		int fixed = 0;
		char name[64];

		for (uint32_t epoch = 0; epoch < 3 && good; epoch++)
			good = bijective(sizes[i], epoch, &fixed);
		snprintf(name, sizeof(name), "rng_permute of %u is a permutation", sizes[i]);
		check(name, good && (sizes[i] < 1000 || fixed < 10), "it is none, or leaves %d in place", fixed);
	}
	check("rng_permute of 2^32 - 1 stays inside", rng_permute(1, 0, RNG_ORDER, UINT32_MAX, UINT32_MAX - 1) < UINT32_MAX,
	      "it does not");
}

/* Over many epochs, where two positions go: all n (n - 1) pairs of places equally often. */
static void test_uniform_permutations(void)
{
	enum { EPOCHS = 20000 };

	for (int n = 2; n <= 12; n += 5) {
		int counts[144] = { 0 }, pairs[144], k = 0;
		char name[64];

		for (uint32_t epoch = 0; epoch < EPOCHS; epoch++)
			counts[rng_permute(5, epoch, RNG_ORDER, n, 0) * n + rng_permute(5, epoch, RNG_ORDER, n, n - 1)]++;
		for (int i = 0; i < n * n; i++)
			if (i / n != i % n)
				pairs[k++] = counts[i];
		snprintf(name, sizeof(name), "rng_permute of %d sends two positions everywhere", n);
		check(name, even(pairs, k, EPOCHS), "pairs of places are uneven");
	}
}

/* Correlation of a permutation with the positions, and of those of two epochs, purposes and seeds: about 1/sqrt(n) by chance. */
static void test_independent_permutations(void)
{
	enum { N = 50000 };
	double centre = (N - 1) / 2.0, sum[4] = { 0 }, limit = 5 / sqrt(N);

	for (uint32_t i = 0; i < N; i++) {
		double x = rng_permute(5, 0, RNG_ORDER, N, i) - centre;

		sum[0] += x * (i - centre);
		sum[1] += x * (rng_permute(5, 1, RNG_ORDER, N, i) - centre);
		sum[2] += x * (rng_permute(5, 0, RNG_HOLDOUT, N, i) - centre);
		sum[3] += x * (rng_permute(6, 0, RNG_ORDER, N, i) - centre);
	}
	for (int k = 0; k < 4; k++)
		sum[k] /= N * ((double)N * N - 1) / 12;
	check("a permutation forgets the positions", fabs(sum[0]) < limit, "correlation %g", sum[0]);
	check("permutations of two epochs, purposes, seeds are unrelated",
	      fabs(sum[1]) < limit && fabs(sum[2]) < limit && fabs(sum[3]) < limit, "correlations %g, %g, %g", sum[1], sum[2],
	      sum[3]);
}

int main(void)
{
	test_vectors();
	test_streams();
	test_repeats();
	test_below();
	test_reals();
	test_permutations();
	test_uniform_permutations();
	test_independent_permutations();
	return check_done();
}
