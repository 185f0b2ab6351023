#include "lib/nn/train/statistics.h"

struct statistics statistics_new(int64_t count)
{
	return (struct statistics){ count, xaligned(count * sizeof(float)), xcalloc(count, sizeof(double)), 0 };
}

void statistics_release(struct statistics *s)
{
	free(s->group);
	free(s->sum);
}

void statistics_add(struct statistics *s)
{
	for (int64_t i = 0; i < s->count; i++)
		s->sum[i] += s->group[i];
	s->groups++;
}

/* The mean over the groups of all ranks, as f32. */
static void average(struct statistics *s, const struct ranks *ranks)
{
	for (int64_t i = 0; i < s->count; i++)
		s->group[i] = (float)(s->sum[i] / s->groups / ranks->count);
	ranks->sum(ranks->with, s->group, s->count);
	for (int64_t i = 0; i < s->count; i++)
		s->sum[i] = s->group[i];
	s->groups = 1;
}

void statistics_move(struct statistics *s, const struct ranks *ranks, double m, float *running)
{
	if (ranks && ranks->count > 1)
		average(s, ranks);
	for (int64_t i = 0; i < s->count; i++) {
		double mean = s->sum[i] / s->groups;

		running[i] = m < 1 ? (float)((1 - m) * running[i] + m * mean) : (float)mean;
	}
	memset(s->sum, 0, s->count * sizeof(*s->sum));
	s->groups = 0;
}
