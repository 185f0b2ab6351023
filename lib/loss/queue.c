#include "lib/loss/queue.h"
#include "lib/base/rng.h"
#include "lib/loss/loss.h"
#include "lib/loss/unit.h"

void queue_fill(const struct tensor *rows, uint64_t seed, int number)
{
	int dim = (int)rows->shape[1];

#pragma omp parallel for
	for (int64_t i = 0; i < rows->shape[0]; i++) {
		struct rng r = rng_at(seed, 0, (uint32_t)i, (uint16_t)number, RNG_QUEUE);
		float *row = tensor_f32(rows) + i * dim, norm;

		for (int d = 0; d < dim; d++)
			row[d] = (float)rng_normal(&r);
		unit_rows(row, 1, dim, row, &norm);
	}
}

void queue_push(const struct tensor *rows, const struct tensor *pointer, const float *keys, int n)
{
	int64_t size = rows->shape[0], dim = rows->shape[1], *at = tensor_i64(pointer);
	int64_t before = MIN(n, size - *at);

	memcpy(tensor_f32(rows) + *at * dim, keys, before * dim * sizeof(float));
	memcpy(tensor_f32(rows), keys + before * dim, (n - before) * dim * sizeof(float));
	*at = (*at + n) % size;
}

void queue_add(struct objective *o, const char *rows, const char *pointer, int64_t size, int64_t dim, int number)
{
	queue_fill(objective_add_state(o, rows, F32, 2, (int64_t[]){ size, dim }), o->seed, number);
	objective_add_state(o, pointer, I64, 1, (int64_t[]){ 1 });
}

int queue_accept(const struct tensor *pointer, const struct tensor *rows, int64_t step)
{
	int64_t at = *tensor_i64(pointer);

	if (at < 0 || at >= rows->shape[0] || at % step != 0)
		return fail("the saved queue's pointer %lld does not suit steps of %lld rows", (long long)at, (long long)step);
	return 0;
}

int queue_fits(const char *loss, const char *key, int64_t size, int64_t step)
{
	int64_t nearest = MAX(step, (size + step / 2) / step * step);

	if (size % step == 0)
		return 0;
	return fail_code(EXIT_USAGE, "queue size %lld is not a multiple of the %lld keys of a step: try 'loss %s:%s=%lld'",
			 (long long)size, (long long)step, loss, key, (long long)nearest);
}
