/*
 * sampler.h - which sample stands where in which step: pure functions, no state
 *
 * Training: step s is batch s % n of epoch s / n, where an epoch has n = floor(N / B) whole batches; an epoch's order is a
 * permutation keyed by (seed, epoch). Evaluation: sample i stands at position i, n = ceil(N / B), the last batch is short.
 *
 *	int64_t n = sampler_steps(50000, 256, false);                        195
 *	struct span s = sampler_span(50000, 256, false, 200, 0, 1);          epoch 1, positions [1280, 1536)
 *	uint32_t i = sampler_pick(seed, s.epoch, s.begin, 0, 50000);         first sample of the step
 */
#ifndef IMAGE_SAMPLER_H
#define IMAGE_SAMPLER_H

#include "lib/base/base.h"

struct span {
	uint32_t epoch;
	uint32_t begin, end;      /* positions in the epoch */
};

int64_t sampler_steps(int64_t samples, int batch, bool eval);
/* Positions of one part of a step: rows floor(part * B / parts) up to floor((part + 1) * B / parts). */
struct span sampler_span(int64_t samples, int batch, bool eval, int64_t step, int part, int parts);
/* The sample at a position of an epoch; attempt > 0: the stand-in that is taken when the ones before are unreadable. */
uint32_t sampler_pick(uint64_t seed, uint32_t epoch, uint32_t position, int attempt, uint32_t samples);

#endif
