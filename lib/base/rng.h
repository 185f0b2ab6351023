/*
 * rng.h - counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3")
 *
 * No state travels between draws of different samples, so there is no order to get wrong: what is drawn
 * for (seed, epoch, sample, view, purpose) is the same on any thread, worker or resumed run.
 *
 *	struct rng r = rng_at(seed, epoch, sample, view, RNG_AUGMENT);
 *	double area = rng_between(&r, 0.08, 1);
 *	bool flip = rng_uniform(&r) < 0.5;
 */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdint.h>

/* Purposes keep streams of one (epoch, sample, view) apart. Numbers are for ever: runs depend on them. */
enum rng_purpose {
	RNG_ORDER = 1,     /* sample order of an epoch */
	RNG_AUGMENT = 2,   /* parameters of a view */
	RNG_REPLACE = 3,   /* stand-in for a bad sample */
	RNG_HOLDOUT = 4,   /* choice of held-out samples */
	RNG_INIT = 5,      /* weights; sample = parameter number */
	RNG_DROPOUT = 7,   /* masks; epoch = step, sample = row of the batch, view = layer and pass */
	RNG_QUEUE = 8,     /* first content of the queue */
	RNG_PROBE = 9,     /* subsets and initial weights of the probes */
	RNG_HIDE = 10,     /* what is hidden of a view */
	RNG_PAIR = 11,     /* what two views of a sample have in common; view = the first */
	RNG_MIX = 12,      /* the box of a mixed view */
	RNG_BAG = 13,      /* the member of a sample's bag */
};

struct rng {
	uint32_t key[2];
	uint32_t counter[4];
	uint32_t block[4];
	int used;
};

struct rng rng_at(uint64_t seed, uint32_t epoch, uint32_t sample, uint16_t view, uint16_t purpose);
uint32_t rng_u32(struct rng *r);
/* [0, 1) with 53 bits. */
double rng_uniform(struct rng *r);
/* [lo, hi). */
double rng_between(struct rng *r, double lo, double hi);
/* 0 .. n-1 without bias; n >= 1. */
uint32_t rng_below(struct rng *r, uint32_t n);
/* N(0, 1), Box-Muller. */
double rng_normal(struct rng *r);

/* Where position i of n goes under the permutation keyed by (seed, epoch, purpose): a bijection of 0..n-1,
 * computed for one i alone (Feistel network with cycle walking). */
uint32_t rng_permute(uint64_t seed, uint32_t epoch, uint16_t purpose, uint32_t n, uint32_t i);

/* One raw block, for tests against the published vectors. */
void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
