#include "lib/image/dataset.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "lib/image/reader.h"

enum { SAMPLE_BYTES_MAX = 256 << 20, SOURCES_MAX = 65535 };

static const struct reader *const readers[] = { &reader_idx, &reader_cifar, &reader_folder, &reader_tar };

static const struct {
	const char *name;
	enum split split;
} split_names[] = {
	{ "train", SPLIT_TRAIN }, { "val", SPLIT_TEST }, { "valid", SPLIT_TEST }, { "validation", SPLIT_TEST }, { "test", SPLIT_TEST },
};

/* --- memory of one sample --- */

uint8_t *bytes_room(struct bytes *b, size_t size)
{
	if (size > b->room) {
		b->room = MAX(size, 2 * b->room);
		b->data = xrealloc(b->data, b->room, 1);
	}
	return b->data;
}

void bytes_release(struct bytes *b)
{
	free(b->data);
	*b = (struct bytes)BYTES_INIT;
}

int read_span(int fd, uint64_t offset, size_t size, struct bytes *scratch, struct blob *blob)
{
	uint8_t *p;
	size_t done = 0;

	if (size > SAMPLE_BYTES_MAX)
		return fail("it has %zu bytes, more than the limit of %d", size, SAMPLE_BYTES_MAX);
	p = bytes_room(scratch, size);
	while (done < size) {
		ssize_t n = pread(fd, p + done, size - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail("unable to read it:");
		if (n == 0)
			return fail("it has become shorter since the start");
		done += n;
	}
	*blob = (struct blob){ .kind = BLOB_FILE, .data = p, .size = size };
	return 0;
}

/* --- samples --- */

bool is_picture_name(const char *name)
{
	static const char *const extensions[] = { ".jpg", ".jpeg", ".png" };
	const char *dot = strrchr(name, '.');

	for (size_t i = 0; dot && i < ARRAY_SIZE(extensions); i++)
		if (strcasecmp(dot, extensions[i]) == 0)
			return true;
	return false;
}

int dataset_add(struct dataset *d, int source, const char *name, uint64_t offset, uint64_t size)
{
	size_t n = strlen(name) + 1;

	if (d->count == INT32_MAX || d->names_used + n > UINT32_MAX)
		return fail("unable to use '%s': too many samples", d->sources[source].path);
	if (d->names_used + n > d->names_room) {
		d->names_room = MAX(2 * d->names_room, d->names_used + n + 4096);
		d->names = xrealloc(d->names, d->names_room, 1);
	}
	if ((size_t)d->count == d->samples_room) {
		d->samples_room = MAX(2 * d->samples_room, 1024);
		d->samples = xrealloc(d->samples, d->samples_room, sizeof(*d->samples));
	}
	memcpy(d->names + d->names_used, name, n);
	d->samples[d->count] = (struct sample){
		.offset = offset,
		.name = (uint32_t)d->names_used,
		.size = (uint32_t)MIN(size, UINT32_MAX),
		.label = -1,
		.source = (uint16_t)source,
	};
	d->names_used += n;
	return d->count++;
}

const char *dataset_name(const struct dataset *d, int sample)
{
	return d->names + d->samples[sample].name;
}

int dataset_split_count(const struct dataset *d, enum split s)
{
	int n = 0;

	for (int i = 0; i < d->count; i++)
		n += d->samples[i].split == s;
	return n;
}

int dataset_load(const struct dataset *d, int sample, struct bytes *scratch, struct blob *blob)
{
	const struct sample *s = &d->samples[sample];

	return d->sources[s->source].reader->load(d, s, scratch, blob);
}

/* --- splits and classes, from names --- */

/* The split that a folder's name of n bytes stands for, or -1. */
static int split_of(const char *name, size_t n)
{
	for (size_t i = 0; i < ARRAY_SIZE(split_names); i++)
		if (strlen(split_names[i].name) == n && strncmp(split_names[i].name, name, n) == 0)
			return split_names[i].split;
	return -1;
}

/* The split of a path's last component: augment data/val names one. */
static int split_of_path(const char *path)
{
	size_t end = strlen(path), begin;

	while (end > 0 && path[end - 1] == '/')
		end--;
	for (begin = end; begin > 0 && path[begin - 1] != '/'; begin--)
		;
	return split_of(path + begin, end - begin);
}

static size_t first_folder(const char *name)
{
	const char *slash = strchr(name, '/');

	return slash ? (size_t)(slash - name) : 0;
}

/* n01440764_tench.JPEG: the length of the synset, or 0. */
static size_t synset(const char *name)
{
	return name[0] == 'n' && strspn(name + 1, "0123456789") == 8 && name[9] == '_' ? 9 : 0;
}

/* Finds the split and gives the class's name, which may be of length 0. */
static const char *parse_name(const char *name, int hint, uint8_t *split, size_t *class_length)
{
	int own = split_of(name, first_folder(name));

	*split = (uint8_t)(own >= 0 ? own : MAX(hint, 0));
	if (own >= 0)
		name += first_folder(name) + 1;
	*class_length = first_folder(name);
	if (!*class_length)
		*class_length = synset(name);
	return name;
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

/* Collects class names in the order of the samples, so that those of one class come in a row. */
static void class_add(struct dataset *d, const char *name)
{
	if (d->class_count && strcmp(d->classes[d->class_count - 1], name) == 0)
		return;
	d->classes = xrealloc(d->classes, d->class_count + 1, sizeof(*d->classes));
	d->classes[d->class_count++] = xstrdup(name);
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

/* Labels were given as numbers (.cls): they stay, and the classes are called by them. */
static bool number_classes(struct dataset *d)
{
	int max = -1;

	for (int i = 0; i < d->count; i++)
		max = MAX(max, d->samples[i].label);
	for (int i = 0; i <= max; i++) {
		char name[16];

		snprintf(name, sizeof(name), "%d", i);
		d->classes = xrealloc(d->classes, i + 1, sizeof(*d->classes));
		d->classes[i] = xstrdup(name);
	}
	d->class_count = max + 1;
	return max >= 0;
}

static void label_samples(struct dataset *d)
{
	bool numbered = number_classes(d);

	for (int pass = 0; pass < 2; pass++) {
		for (int i = 0; i < d->count; i++) {
			struct sample *s = &d->samples[i];
			char class[256];
			size_t n;
			const char *p = parse_name(dataset_name(d, i), split_of_path(d->sources[s->source].path), &s->split, &n);

			if (numbered || !n)
				continue;
			format(class, sizeof(class), "%.*s", (int)n, p);
			if (pass == 0)
				class_add(d, class);
			else
				s->label = class_find(d, class);
		}
		if (pass == 0 && !numbered)
			classes_sort(d);
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

/* --- opening --- */

static int unknown_kind(const char *path, const uint8_t *head)
{
	if (head[0] == 0x1f && head[1] == 0x8b)
		return fail("unable to use '%s': it is compressed; for a tar, try: zcat %s | augment ... -", path, path);
	return fail("unable to use '%s': it is neither a folder of pictures, a tar, IDX nor CIFAR file", path);
}

static int source_open(struct dataset *d, const char *path)
{
	struct source *s = &d->sources[d->source_count++];
	bool is_stdin = strcmp(path, "-") == 0;
	uint8_t head[512] = { 0 };
	struct stat st = { 0 };

	*s = (struct source){ .path = xstrdup(path), .fd = -1 };
	if (!is_stdin) {
		s->fd = open(path, O_RDONLY | O_CLOEXEC);
		if (s->fd < 0 || fstat(s->fd, &st) < 0)
			return fail("unable to open '%s':", path);
		if (S_ISREG(st.st_mode) && pread(s->fd, head, sizeof(head), 0) < 0)
			return fail("unable to read '%s':", path);
	}
	for (size_t i = 0; i < ARRAY_SIZE(readers) && !s->reader; i++)
		if (is_stdin ? readers[i] == &reader_tar : readers[i]->claims(path, &st, head))
			s->reader = readers[i];
	if (!s->reader)
		return unknown_kind(path, head);
	return s->reader->scan(d, d->source_count - 1);
}

static int check_found(const struct dataset *d, char *const *paths, int count)
{
	if (d->count > 0)
		return 0;
	return fail("found no pictures (.jpg, .jpeg, .png) in '%s'%s", paths[0], count > 1 ? " nor in the others" : "");
}

struct dataset *dataset_open(char *const *paths, int count)
{
	struct dataset *d = xcalloc(1, sizeof(*d));

	d->sources = xcalloc(count + 1, sizeof(*d->sources));
	if (count < 1 || count > SOURCES_MAX) {
		fail_code(EXIT_USAGE, count < 1 ? "no data given: name a folder, tar, IDX or CIFAR file" : "more than %d paths", SOURCES_MAX);
		dataset_free(d);
		return NULL;
	}
	for (int i = 0; i < count; i++)
		if (source_open(d, paths[i]) < 0) {
			dataset_free(d);
			return NULL;
		}
	if (check_found(d, paths, count) < 0) {
		dataset_free(d);
		return NULL;
	}
	qsort_r(d->samples, d->count, sizeof(*d->samples), compare_samples, d);
	label_samples(d);
	fingerprint(d);
	return d;
}

void dataset_free(struct dataset *d)
{
	if (!d)
		return;
	for (int i = 0; i < d->source_count; i++) {
		struct source *s = &d->sources[i];

		if (s->fd >= 0)
			close(s->fd);
		free(s->path);
		free(s->memory);
	}
	for (int i = 0; i < d->class_count; i++)
		free(d->classes[i]);
	free(d->classes);
	free(d->sources);
	free(d->samples);
	free(d->names);
	free(d);
}
