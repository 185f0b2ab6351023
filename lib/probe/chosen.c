#include "lib/probe/chosen.h"
#include "lib/base/rng.h"

int chosen_check(const char *split, const char *probe)
{
	if (strcmp(split, "train") != 0 && strcmp(split, "test") != 0 && strcmp(split, "all") != 0)
		return fail_code(EXIT_USAGE, "parameter 'split=%s' of probe '%s' is neither train, test nor all", split, probe);
	return 0;
}

int chosen_make(struct chosen *c, const struct features *f, const char *split, int64_t most, int64_t seed, int64_t least)
{
	int64_t train = strcmp(split, "test") == 0 ? 0 : f->set[TRAIN].count;
	int64_t test = strcmp(split, "train") == 0 ? 0 : f->set[TEST].count, total = train + test;
	int64_t count = most == 0 ? total : MIN(most, total);
	bool *taken;

	if (total > UINT32_MAX)
		return fail("%lld samples are more than can be chosen from", (long long)total);
	if (count < least)
		return fail_code(EXIT_USAGE,
				 "%lld samples are needed, and %lld are there: give another split or n, or augment more data",
				 (long long)least, (long long)count);
	taken = xcalloc(total, sizeof(*taken));
	for (int64_t i = 0; i < count; i++)
		taken[rng_permute((uint64_t)seed, 0, RNG_PROBE, (uint32_t)total, (uint32_t)i)] = true;
	*c = (struct chosen){ f, 0, xcalloc(count, sizeof(*c->at)) };
	for (int64_t i = 0; i < total; i++)
		if (taken[i])
			c->at[c->count++] = i < train ? (struct chosen_at){ TRAIN, i } : (struct chosen_at){ TEST, i - train };
	free(taken);
	return 0;
}

void chosen_release(struct chosen *c)
{
	free(c->at);
	*c = (struct chosen){ NULL, 0, NULL };
}

float *chosen_rows(const struct chosen *c)
{
	int64_t dim = c->of->dim;
	float *x = xaligned(c->count * dim * sizeof(float));

	for (int64_t i = 0; i < c->count; i++)
		memcpy(x + i * dim, c->of->set[c->at[i].split].x[0] + c->at[i].row * dim, dim * sizeof(float));
	return x;
}

int32_t chosen_label(const struct chosen *c, int64_t i)
{
	return c->of->set[c->at[i].split].label[c->at[i].row];
}

const char *chosen_name(const struct chosen *c, int64_t i, char *dst, size_t size)
{
	return features_name(c->of, c->at[i].split, c->at[i].row, dst, size);
}
