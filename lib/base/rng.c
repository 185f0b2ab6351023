#include "lib/base/rng.h"

#include <math.h>

static uint32_t mulhilo(uint32_t a, uint32_t b, uint32_t *lo)
{
	uint64_t p = (uint64_t)a * b;

	*lo = (uint32_t)p;
	return (uint32_t)(p >> 32);
}

void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
	uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
	uint32_t k0 = key[0], k1 = key[1];

	for (int round = 0; round < 10; round++) {
		uint32_t lo0, lo1;
		uint32_t hi0 = mulhilo(0xD2511F53u, c0, &lo0);
		uint32_t hi1 = mulhilo(0xCD9E8D57u, c2, &lo1);

		c0 = hi1 ^ c1 ^ k0;
		c1 = lo1;
		c2 = hi0 ^ c3 ^ k1;
		c3 = lo0;
		k0 += 0x9E3779B9u;
		k1 += 0xBB67AE85u;
	}
	out[0] = c0;
	out[1] = c1;
	out[2] = c2;
	out[3] = c3;
}

struct rng rng_at(uint64_t seed, uint32_t epoch, uint32_t sample, uint16_t view, uint16_t purpose)
{
	struct rng r = {
		.key = { (uint32_t)seed, (uint32_t)(seed >> 32) },
		.counter = { 0, sample, epoch, (uint32_t)view << 16 | purpose },
		.used = 4,
	};

	return r;
}

uint32_t rng_u32(struct rng *r)
{
	if (r->used == 4) {
		philox4x32(r->counter, r->key, r->block);
		r->counter[0]++;
		r->used = 0;
	}
	return r->block[r->used++];
}

double rng_uniform(struct rng *r)
{
	uint64_t hi = rng_u32(r) >> 5, lo = rng_u32(r) >> 6;

	return (double)(hi << 26 | lo) * 0x1p-53;
}

double rng_between(struct rng *r, double lo, double hi)
{
	return lo + (hi - lo) * rng_uniform(r);
}

/* Lemire 2019, "Fast random integer generation in an interval": rejects the few values that would bias. */
uint32_t rng_below(struct rng *r, uint32_t n)
{
	uint64_t m = (uint64_t)rng_u32(r) * n;

	if ((uint32_t)m < n) {
		uint32_t floor = -n % n;

		while ((uint32_t)m < floor)
			m = (uint64_t)rng_u32(r) * n;
	}
	return (uint32_t)(m >> 32);
}

double rng_normal(struct rng *r)
{
	double u = 1 - rng_uniform(r); /* (0, 1]: the logarithm stays finite */
	double angle = 6.283185307179586 * rng_uniform(r);

	return sqrt(-2 * log(u)) * cos(angle);
}

/* Balanced Feistel over 2*half bits, 6 rounds; walks the cycle until the value falls below n (at most 4 n points: few steps). */
uint32_t rng_permute(uint64_t seed, uint32_t epoch, uint16_t purpose, uint32_t n, uint32_t i)
{
	uint32_t key[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) };
	int half = 1;
	uint64_t x = i;

	while (half < 16 && (1ULL << 2 * half) < n)
		half++;
	do {
		uint32_t mask = (1u << half) - 1, left = (uint32_t)(x >> half), right = (uint32_t)x & mask;

		for (uint32_t round = 0; round < 6; round++) {
			uint32_t counter[4] = { right, round | 0x80000000u, epoch, purpose }, out[4];
			uint32_t next;

			philox4x32(counter, key, out);
			next = left ^ (out[0] & mask);
			left = right;
			right = next;
		}
		x = (uint64_t)left << half | right;
	} while (x >= n);
	return (uint32_t)x;
}
