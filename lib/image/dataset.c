#include "lib/image/dataset.h"

static const struct {
	const char *name;
	enum split split;
} split_names[] = {
	{ "train", SPLIT_TRAIN }, { "val", SPLIT_TEST }, { "valid", SPLIT_TEST }, { "validation", SPLIT_TEST },
	{ "test", SPLIT_TEST },
};

/* --- samples --- */

uint32_t dataset_text(struct dataset *d, const char *text)
{
	size_t n = strlen(text) + 1, at = d->names_used;

	if (at + n > UINT32_MAX)
		return 0;
	if (at + n > d->names_room) {
		d->names_room = MAX(2 * d->names_room, at + n + 4096);
		d->names = xrealloc(d->names, d->names_room, 1);
	}
	memcpy(d->names + at, text, n);
	d->names_used += n;
	return (uint32_t)at;
}

int dataset_add(struct dataset *d, int source, const char *name, uint64_t offset, uint64_t size)
{
	uint32_t at = d->count < INT32_MAX ? dataset_text(d, name) : 0;

	if (!at)
		return fail("unable to use '%s': too many samples", d->sources[source].path);
	if ((size_t)d->count == d->samples_room) {
		d->samples_room = MAX(2 * d->samples_room, 1024);
		d->samples = xrealloc(d->samples, d->samples_room, sizeof(*d->samples));
	}
	d->samples[d->count] = (struct sample){
		.offset = offset,
		.name = at,
		.size = (uint32_t)MIN(size, UINT32_MAX),
		.label = -1,
		.source = (uint16_t)source,
	};
	return d->count++;
}

void dataset_pass(struct dataset *d, const char *path)
{
	int kind = kind_of_name(path);

	if (kind >= 0)
		d->passed[kind]++;
}

/* --- names --- */

int dataset_folder_split(const char *name, size_t n)
{
	for (size_t i = 0; i < ARRAY_SIZE(split_names); i++)
		if (strlen(split_names[i].name) == n && strncmp(split_names[i].name, name, n) == 0)
			return split_names[i].split;
	return -1;
}

size_t dataset_folder(const char *name)
{
	const char *slash = strchr(name, '/');

	return slash ? (size_t)(slash - name) : 0;
}

const char *dataset_name(const struct dataset *d, int sample)
{
	return d->names + d->samples[sample].name;
}

const char *dataset_bare_name(const struct dataset *d, int sample)
{
	const char *name = dataset_name(d, sample);

	return dataset_folder_split(name, dataset_folder(name)) >= 0 ? name + dataset_folder(name) + 1 : name;
}

/* Whether all samples from first on lie in the folder that begins prefix, n bytes with its '/', and not as plain files in it. */
static bool is_common(const struct dataset *d, int first, const char *prefix, size_t n)
{
	for (int i = first; i < d->count; i++) {
		const char *name = dataset_name(d, i);

		if (strncmp(name, prefix, n) != 0 || !strchr(name + n, '/'))
			return false;
	}
	return true;
}

void dataset_strip(struct dataset *d, int source, int first)
{
	while (d->count > first) {
		const char *prefix = dataset_name(d, first);
		size_t n = dataset_folder(prefix);

		if (prefix[n] != '/' || dataset_folder_split(prefix, n) >= 0 || !is_common(d, first, prefix, n + 1))
			return;
		for (int i = first; i < d->count; i++)
			d->samples[i].name += (uint32_t)n + 1;
		d->sources[source].stripped += (uint32_t)n + 1;
	}
}

/* --- order and fingerprint --- */

static int compare_samples(const void *a, const void *b, void *dataset)
{
	const struct sample *x = a, *y = b;
	const struct dataset *d = dataset;
	int order = strcmp(d->names + x->name, d->names + y->name);

	if (order == 0)
		order = (x->source > y->source) - (x->source < y->source);
	return order ? order : (x->offset > y->offset) - (x->offset < y->offset);
}

/* What was read from an index is in order already. */
static void sort_samples(struct dataset *d)
{
	int i = 1;

	while (i < d->count && compare_samples(&d->samples[i - 1], &d->samples[i], d) <= 0)
		i++;
	if (i < d->count)
		qsort_r(d->samples, d->count, sizeof(*d->samples), compare_samples, d);
}

static void fingerprint(struct dataset *d)
{
	uint64_t h = HASH_INIT;

	for (int i = 0; i < d->count; i++) {
		size_t n = strlen(dataset_name(d, i));
		uint64_t size = d->samples[i].size;

		h = hash_bytes(h, dataset_name(d, i), n + 1);
		h = hash_bytes(h, &size, sizeof(size));
		d->name_max = MAX(d->name_max, n);
	}
	format(d->fingerprint, sizeof(d->fingerprint), "%d:%016llx", d->count, (unsigned long long)h);
}

void dataset_settle(struct dataset *d)
{
	d->samples_room = d->count;
	d->samples = xrealloc(d->samples, d->samples_room, sizeof(*d->samples));
	d->names_room = d->names_used;
	d->names = xrealloc(d->names, d->names_room, 1);
	sort_samples(d);
	fingerprint(d);
}

/* --- a part of it --- */

int dataset_split_count(const struct dataset *d, enum split s)
{
	int n = 0;

	for (int i = 0; i < d->count; i++)
		n += d->samples[i].split == s;
	return n;
}

int dataset_bad_most(double share, int64_t samples)
{
	return share > 0 ? (int)MAX(share * (double)samples, DATASET_BAD) : 0;
}

int *dataset_choose(const struct dataset *d, const char *split, int *count)
{
	bool all = strcmp(split, "all") == 0;
	enum split s = strcmp(split, "test") == 0 ? SPLIT_TEST : SPLIT_TRAIN;
	int *chosen;

	if (!all && s == SPLIT_TRAIN && strcmp(split, "train") != 0) {
		fail_code(EXIT_USAGE, "unknown split '%s': choose one of train, test, all%s", split,
			  dataset_folder_split(split, strlen(split)) == SPLIT_TEST ? " (such folders are the split test)" : "");
		return NULL;
	}
	*count = 0;
	chosen = xcalloc(d->count, sizeof(*chosen));
	for (int i = 0; i < d->count; i++)
		if (all || d->samples[i].split == s)
			chosen[(*count)++] = i;
	if (*count)
		return chosen;
	free(chosen);
	fail_code(EXIT_USAGE, "there is no image in the split '%s'; try --split all", split);
	return NULL;
}

int dataset_keep(struct dataset *d, const char *split)
{
	int count, *kept = dataset_choose(d, split, &count);

	if (!kept)
		return -1;
	for (int i = 0; i < count; i++)
		d->samples[i] = d->samples[kept[i]];
	d->count = count;
	fingerprint(d);
	free(kept);
	return 0;
}

