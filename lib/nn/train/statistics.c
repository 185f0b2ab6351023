#include "lib/nn/train/statistics.h"

struct statistics statistics_new(int64_t count)
{
	return (struct statistics){ count, xaligned(count * sizeof(float)), xcalloc(count, sizeof(double)), 0, NULL };
}

void statistics_release(struct statistics *s)
{
	free(s->group);
	free(s->sum);
}

bool *statistics_still(const struct net_tensor *tensors, int count, int64_t n)
{
	bool *still = NULL;

	for (int i = 0; i < count; i++) {
		const struct net_tensor *t = &tensors[i];

		if (t->buffer && t->frozen && !still)
			still = xcalloc(n, sizeof(*still));
		if (t->buffer && t->frozen)
			memset(still + t->offset, true, t->count * sizeof(*still));
	}
	return still;
}

float *statistics_group(const struct statistics *s, const float *running)
{
	for (int64_t i = 0; s->still && i < s->count; i++)
		if (s->still[i])
			s->group[i] = running[i];
	return s->group;
}

void statistics_add(struct statistics *s)
{
	for (int64_t i = 0; i < s->count; i++)
		s->sum[i] += s->group[i];
	s->groups++;
}

void statistics_move(struct statistics *s, const struct ranks *ranks, double m, float *running)
{
	bool shared = ranks && ranks->count > 1;

	for (int64_t i = 0; shared && i < s->count; i++)
		s->group[i] = (float)(s->sum[i] / s->groups / ranks->count);
	if (shared)
		ranks->sum(ranks->with, s->group, s->count);
	for (int64_t i = 0; i < s->count; i++) {
		double mean = shared ? s->group[i] : s->sum[i] / s->groups;

		if (!s->still || !s->still[i])
			running[i] = m < 1 ? (float)((1 - m) * running[i] + m * mean) : (float)mean;
	}
	memset(s->sum, 0, s->count * sizeof(*s->sum));
	s->groups = 0;
}
