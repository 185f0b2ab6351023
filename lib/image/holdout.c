/* holdout.c - dataset_holdout(): which training samples become the split test */
#include "lib/image/dataset.h"

struct names {
	char *text;
	char **lines;
	int count;
	bool *met;
};

static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int names_read(struct names *n, const char *path)
{
	void *data;
	size_t size;
	char *rest, *line;

	if (read_file(path, 1 << 30, &data, &size) < 0)
		return -1;
	n->text = xrealloc(data, size + 1, 1);
	n->text[size] = '\0';
	for (rest = n->text; (line = strsep(&rest, "\r\n")) != NULL;) {
		if (!*line)
			continue;
		if (n->count % 1024 == 0)
			n->lines = xrealloc(n->lines, n->count + 1024, sizeof(*n->lines));
		n->lines[n->count++] = line;
	}
	if (!n->count) {
		free(n->text);
		return fail("unable to hold out '%s': it names nothing", path);
	}
	qsort(n->lines, n->count, sizeof(*n->lines), compare_lines);
	n->met = xcalloc(n->count, sizeof(*n->met));
	return 0;
}

static bool names_meet(struct names *n, const char *name)
{
	char **at = bsearch(&name, n->lines, n->count, sizeof(*n->lines), compare_lines);

	if (at)
		n->met[at - n->lines] = true;
	return at != NULL;
}

/* Lines may leave the folder of the split out: class/file. */
static int hold_named(struct dataset *d, struct names *n, const char *path)
{
	int missing = 0, first = -1;

	for (int i = 0; i < d->count; i++) {
		const char *name = dataset_name(d, i), *inner = strncmp(name, "train/", 6) == 0 ? name + 6 : name;

		if (d->samples[i].split == SPLIT_TRAIN && (names_meet(n, inner) || names_meet(n, name)))
			d->samples[i].split = SPLIT_TEST;
	}
	for (int i = n->count - 1; i >= 0; i--)
		if (!n->met[i]) {
			missing++;
			first = i;
		}
	if (missing)
		return fail("unable to hold out '%s' (line of '%s', %d of %d are like it): no such training sample", n->lines[first], path,
			    missing, n->count);
	return 0;
}

static int hold_file(struct dataset *d, const char *path)
{
	struct names n = { 0 };
	int r;

	if (names_read(&n, path) < 0)
		return -1;
	r = hold_named(d, &n, path);
	free(n.text);
	free(n.lines);
	free(n.met);
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
		return fail_code(EXIT_USAGE, "unable to hold out %lld of %d training samples", (long long)n, train);
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
