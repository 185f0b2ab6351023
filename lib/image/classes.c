/* classes.c - splits and classes: from the samples' names, from what a data set says of them, from a file of labels */
#include "lib/image/lines.h"

enum { NUMBER_MAX = 1 << 24, CLASS_ROOM = 256 };

/* --- names --- */

/* The split of a path's last component: augment data/val names one. */
static int split_of_path(const char *path)
{
	size_t end = strlen(path), begin;

	while (end > 0 && path[end - 1] == '/')
		end--;
	for (begin = end; begin > 0 && path[begin - 1] != '/'; begin--)
		;
	return dataset_folder_split(path + begin, end - begin);
}

/* n01440764_tench.JPEG: the length of the synset, or 0. */
static size_t synset(const char *name)
{
	return name[0] == 'n' && strspn(name + 1, "0123456789") == 8 && name[9] == '_' ? 9 : 0;
}

static void read_splits(struct dataset *d)
{
	for (int i = 0; i < d->count; i++) {
		const char *name = dataset_name(d, i);
		int own = dataset_folder_split(name, dataset_folder(name));
		int hint = split_of_path(d->sources[d->samples[i].source].path);

		d->samples[i].split = (uint8_t)(own >= 0 ? own : MAX(hint, 0));
	}
}

/* --- classes --- */

/* The class of a sample, "" when it has none: the one that was given, or else by its folder or synset, which dst then holds. */
static const char *class_of(const struct dataset *d, int sample, bool given, char dst[CLASS_ROOM])
{
	const char *name = dataset_bare_name(d, sample);
	size_t n = dataset_folder(name);

	if (given)
		return d->names + d->samples[sample].class;
	format(dst, CLASS_ROOM, "%.*s", (int)(n ? n : synset(name)), name);
	return dst;
}

static int compare_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int class_find(const struct dataset *d, const char *name)
{
	char **at = d->class_count ? bsearch(&name, d->classes, d->class_count, sizeof(*d->classes), compare_text) : NULL;

	return at ? (int)(at - d->classes) : -1;
}

static void classes_sort(struct dataset *d)
{
	int n = 0;

	if (!d->class_count)
		return;
	qsort(d->classes, d->class_count, sizeof(*d->classes), compare_text);
	for (int i = 0; i < d->class_count; i++) {
		if (n > 0 && strcmp(d->classes[n - 1], d->classes[i]) == 0)
			free(d->classes[i]);
		else
			d->classes[n++] = d->classes[i];
	}
	d->class_count = n;
}

/* Collects names, seldom sorting: in the order of the samples those of one class mostly come in a row. */
static void class_add(struct dataset *d, const char *name, int *room)
{
	if (!*name || (d->class_count && strcmp(d->classes[d->class_count - 1], name) == 0))
		return;
	if (d->class_count == *room) {
		classes_sort(d);
		*room = MAX(2 * d->class_count, 1024);
		d->classes = xrealloc(d->classes, *room, sizeof(*d->classes));
	}
	d->classes[d->class_count++] = xstrdup(name);
}

/* Classes in sorted order are the labels. */
static void label_by_name(struct dataset *d, bool given)
{
	char class[CLASS_ROOM];
	int room = 0;

	for (int i = 0; i < d->count; i++)
		class_add(d, class_of(d, i, given, class), &room);
	classes_sort(d);
	for (int i = 0; i < d->count; i++)
		d->samples[i].label = class_find(d, class_of(d, i, given, class));
}

/* The number that a given class is, or -1. */
static int64_t class_number(const char *text)
{
	int64_t n;

	return parse_int(text, &n) == 0 && n >= 0 && n < NUMBER_MAX ? n : -1;
}

/* Numbers stay what they are. Each is called by the folder that all its samples lie in, or else all are called by themselves. */
static void label_by_number(struct dataset *d)
{
	int max = -1;
	bool named = true;
	char class[CLASS_ROOM];

	for (int i = 0; i < d->count; i++) {
		d->samples[i].label = (int)class_number(class_of(d, i, true, class));
		max = MAX(max, d->samples[i].label);
	}
	d->class_count = max + 1;
	d->classes = xcalloc(max + 1, sizeof(*d->classes));
	for (int i = 0; i < d->count && named; i++) {
		char **name = d->samples[i].label >= 0 ? &d->classes[d->samples[i].label] : NULL;

		class_of(d, i, false, class);
		if (name && !*name)
			*name = xstrdup(class);
		named = !name || (*class && strcmp(*name, class) == 0);
	}
	for (int i = 0; i <= max; i++)
		if (!named || !d->classes[i]) {
			free(d->classes[i]);
			d->classes[i] = xasprintf("%d", i);
		}
}

void dataset_forget_classes(struct dataset *d)
{
	for (int i = 0; i < d->class_count; i++)
		free(d->classes[i]);
	free(d->classes);
	d->classes = NULL;
	d->class_count = 0;
}

/* The same whatever the labels were found by. */
static void fingerprint_labels(struct dataset *d)
{
	uint64_t h = HASH_INIT;

	for (int i = 0; i < d->class_count; i++)
		h = hash_bytes(h, d->classes[i], strlen(d->classes[i]) + 1);
	for (int i = 0; i < d->count; i++)
		h = hash_bytes(h, &d->samples[i].label, sizeof(d->samples[i].label));
	format(d->labels, sizeof(d->labels), "%d:%016llx", d->class_count, (unsigned long long)h);
}

void dataset_classify(struct dataset *d)
{
	bool given = false, numbers = true;

	for (int i = 0; i < d->count; i++)
		if (d->samples[i].class) {
			given = true;
			numbers &= class_number(d->names + d->samples[i].class) >= 0;
		}
	dataset_forget_classes(d);
	read_splits(d);
	if (given && numbers)
		label_by_number(d);
	else
		label_by_name(d, given);
	fingerprint_labels(d);
}

/* --- a file of labels --- */

int dataset_label(struct dataset *d, const char *path)
{
	struct lines l;
	int met = 0;

	if (lines_read(&l, path, '\t') < 0)
		return -1;
	for (int i = 0; i < d->count; i++) {
		int at = lines_meet(&l, d, i);
		const char *class = at >= 0 ? l.keys[at] + strlen(l.keys[at]) + 1 : "";

		d->samples[i].class = *class ? dataset_text(d, class) : 0;
		met += at >= 0;
	}
	if (met < l.count)
		note("%d of %d lines of '%s' name no sample", l.count - met, l.count, path);
	lines_release(&l);
	if (met == 0)
		return fail("unable to use '%s': none of its lines names a sample, as '%s' would", path, dataset_name(d, 0));
	dataset_classify(d);
	return 0;
}
