#include "lib/nn/train/ema.h"
#include "lib/nn/kernels/kernels.h"

#include <math.h>

enum { SLICE = 65536 };   /* elements; starts on cache lines */

int ema_parse(struct ema *e, const char *text)
{
	char from[32];
	const char *dots = strstr(text, "..");
	int n = dots ? (int)(dots - text) : (int)strlen(text);

	if (format(from, sizeof(from), "%.*s", n, text) < 0 || parse_real(from, &e->from) < 0 ||
	    parse_real(dots ? dots + 2 : from, &e->to) < 0 || !(e->from >= 0 && e->from <= 1 && e->to >= 0 && e->to <= 1))
		return fail_code(EXIT_USAGE, "--ema '%s' is no momentum from 0 to 1 such as 0.999, nor two such as 0.99..1",
				 text);
	if (dots && (e->from == 0 || e->to == 0))
		return fail_code(EXIT_USAGE, "--ema '%s' has a 0, which stands for no key encoder: give 0 alone, or leave it out",
				 text);
	return 0;
}

double ema_momentum(const struct ema *e, int64_t step, int64_t steps)
{
	if (e->from == e->to)
		return e->from;
	return e->to - (e->to - e->from) * (cos(M_PI * (double)step / (double)steps) + 1) / 2;
}

void ema_update(int64_t n, double m, const float *query, float *key)
{
	const struct kernels *k = kernels_find(F32);

#pragma omp parallel for schedule(static)
	for (int64_t i = 0; i < n; i += SLICE)
		k->ema(MIN(SLICE, n - i), (float)m, query + i, key + i);
}

void ema_follow(const struct net_tensor *tensors, int count, bool buffers, int64_t n, double m, const float *query, float *key)
{
	int64_t from = 0;

	for (int i = 0; i < count; i++) {
		const struct net_tensor *t = &tensors[i];

		if (!t->frozen || t->buffer != buffers || t->offset >= n)
			continue;
		ema_update(t->offset - from, m, query + from, key + from);
		from = t->offset + t->count;
	}
	ema_update(n - from, m, query + from, key + from);
}
