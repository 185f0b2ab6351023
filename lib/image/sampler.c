#include "lib/image/sampler.h"

#include "lib/base/rng.h"

int64_t sampler_steps(int64_t samples, int batch, bool eval)
{
	return eval ? (samples + batch - 1) / batch : samples / batch;
}

struct span sampler_span(int64_t samples, int batch, bool eval, int64_t step, int part, int parts)
{
	int64_t n = sampler_steps(samples, batch, eval), first = step % n * batch, rows = MIN(batch, samples - first);

	return (struct span){
		.epoch = (uint32_t)(step / n),
		.begin = (uint32_t)(first + part * rows / parts),
		.end = (uint32_t)(first + (part + 1) * rows / parts),
	};
}

uint32_t sampler_pick(uint64_t seed, uint32_t epoch, uint32_t position, int attempt, uint32_t samples)
{
	struct rng r;

	if (attempt == 0)
		return rng_permute(seed, epoch, RNG_ORDER, samples, position);
	r = rng_at(seed, epoch, position, (uint16_t)attempt, RNG_REPLACE);
	return rng_below(&r, samples);
}
