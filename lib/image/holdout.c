/* holdout.c - dataset_holdout(): which training samples become the split test */
#include "lib/image/lines.h"

#include <unistd.h>

static int missing_names(const struct lines *l, const char *path)
{
	int missing = 0, first = -1;

	for (int i = l->count - 1; i >= 0; i--)
		if (!l->met[i]) {
			missing++;
			first = i;
		}
	if (missing)
		return fail("unable to hold out '%s' (line of '%s', %d of %d are like it): no such training sample",
			    l->keys[first], path, missing, l->count);
	return 0;
}

static int hold_file(struct dataset *d, const char *path)
{
	struct lines l;
	int r;

	if (access(path, F_OK) < 0)
		return fail("unable to hold out '%s': it is neither a number of images nor a file that lists them", path);
	if (lines_read(&l, path, 0) < 0)
		return -1;
	for (int i = 0; i < d->count; i++)
		if (d->samples[i].split == SPLIT_TRAIN && lines_meet(&l, d, i) >= 0)
			d->samples[i].split = SPLIT_TEST;
	r = missing_names(&l, path);
	lines_release(&l);
	return r;
}

/* A training sample, its hash, and its rank by hash within its class. */
struct ranked {
	uint64_t hash;
	int sample, label, rank;
};

static int by_class(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	if (x->label != y->label)
		return x->label < y->label ? -1 : 1;
	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return x->sample - y->sample;
}

static int by_rank(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	if (x->rank != y->rank)
		return x->rank - y->rank;
	return x->hash != y->hash ? (x->hash < y->hash ? -1 : 1) : x->sample - y->sample;
}

/* FNV-1a's high bits hardly depend on the last letters; this mixes them in (the finaliser of MurmurHash3). */
static uint64_t mix(uint64_t h)
{
	h = (h ^ h >> 33) * 0xff51afd7ed558ccdULL;
	h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53ULL;
	return h ^ h >> 33;
}

/* The lowest hash of every class, then the second lowest of every class, and so on until there are n. */
static int hold_number(struct dataset *d, int64_t n)
{
	int train = dataset_split_count(d, SPLIT_TRAIN), k = 0;
	struct ranked *r = xcalloc(train, sizeof(*r));

	if (n < 1 || n >= train) {
		free(r);
		return fail_code(EXIT_USAGE, "unable to hold out %lld of %d training samples: give 1 to %d", (long long)n, train,
				 MAX(train - 1, 1));
	}
	for (int i = 0; i < d->count; i++)
		if (d->samples[i].split == SPLIT_TRAIN) {
			const char *name = dataset_name(d, i);
			uint64_t h = hash_bytes(hash_bytes(HASH_INIT, "holdout", 7), name, strlen(name));

			r[k++] = (struct ranked){ mix(h), i, d->samples[i].label, 0 };
		}
	qsort(r, train, sizeof(*r), by_class);
	for (int i = 1; i < train; i++)
		r[i].rank = r[i].label == r[i - 1].label ? r[i - 1].rank + 1 : 0;
	qsort(r, train, sizeof(*r), by_rank);
	for (int i = 0; i < n; i++)
		d->samples[r[i].sample].split = SPLIT_TEST;
	free(r);
	return 0;
}

int dataset_holdout(struct dataset *d, const char *spec)
{
	int64_t n;
	int before = dataset_split_count(d, SPLIT_TEST);
	uint64_t h = HASH_INIT;

	if ((parse_int(spec, &n) == 0 ? hold_number(d, n) : hold_file(d, spec)) < 0)
		return -1;
	for (int i = 0; i < d->count; i++)
		if (d->samples[i].split == SPLIT_TEST)
			h = hash_bytes(h, dataset_name(d, i), strlen(dataset_name(d, i)) + 1);
	format(d->holdout, sizeof(d->holdout), "%d:%016llx", dataset_split_count(d, SPLIT_TEST) - before, (unsigned long long)h);
	return 0;
}
