/* read_cifar.c - the binary versions of CIFAR-10 and CIFAR-100: records of label bytes, then 32x32 red, green, blue */
#include "lib/image/reader.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "lib/base/files.h"

enum { SIDE = 32, PIXELS = 3 * SIDE * SIDE };

/* To add a layout: its files' names begin so, and end in .bin. */
static const struct layout {
	const char *begins;
	int labels, label;        /* label bytes a record; which one is the class */
	const char *split, *names;
} layouts[] = {
	{ "data_batch", 1, 0, "train", "batches.meta.txt" },
	{ "test_batch", 1, 0, "test", "batches.meta.txt" },
	{ "train", 2, 1, "train", "fine_label_names.txt" },
	{ "test", 2, 1, "test", "fine_label_names.txt" },
};

static const struct layout *layout_of(const char *file)
{
	size_t n = strlen(file);

	if (n < 4 || strcmp(file + n - 4, ".bin") != 0)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(layouts); i++)
		if (strncmp(file, layouts[i].begins, strlen(layouts[i].begins)) == 0)
			return &layouts[i];
	return NULL;
}

static int select_batches(const struct dirent *e)
{
	return layout_of(e->d_name) != NULL;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool cifar_claims(const char *path, const struct stat *st, const uint8_t *head)
{
	struct dirent *e;
	bool found = false;
	DIR *dir;

	(void)head;
	if (!S_ISDIR(st->st_mode)) {
		const struct layout *l = layout_of(base_name(path));

		return l && st->st_size > 0 && st->st_size % (l->labels + PIXELS) == 0;
	}
	dir = opendir(path);
	while (dir && !found && (e = readdir(dir)) != NULL)
		found = layout_of(e->d_name) != NULL;
	if (dir)
		closedir(dir);
	return found;
}

/* Class names, one a line, beside the batches; without the file classes are called by their numbers. */
static void read_class_names(const char *folder, const char *file, char names[256][32])
{
	char *path = xasprintf("%s/%s", folder, file), *rest, *line, *text;
	size_t size;
	int n = 0;

	for (int i = 0; i < 256; i++)
		snprintf(names[i], sizeof(names[i]), "%03d", i);
	if (read_text(path, 1 << 16, &text, &size) == 0) {
		rest = text;
		while (n < 256 && (line = strsep(&rest, "\r\n")) != NULL)
			if (*line && !strchr(line, '/'))
				format(names[n++], sizeof(names[0]), "%s", line);
		free(text);
	}
	free(path);
}

static int add_records(struct dataset *d, int source, const char *file, const struct layout *l, const uint8_t *data, size_t count,
		       uint64_t base, char names[256][32])
{
	size_t record = l->labels + PIXELS;

	for (size_t i = 0; i < count; i++) {
		char name[96];

		snprintf(name, sizeof(name), "%s/%s/%.*s-%05zu", l->split, names[data[i * record + l->label]],
			 (int)strcspn(file, "."), file, i);
		if (dataset_add(d, source, name, base + i * record + l->labels, PIXELS) < 0)
			return -1;
	}
	return 0;
}

/* Appends one batch file to the source's memory. */
static int scan_batch(struct dataset *d, int source, const char *folder, const char *file, uint64_t *used)
{
	const struct layout *l = layout_of(file);
	struct source *s = &d->sources[source];
	char *path = xasprintf("%s/%s", folder, file), names[256][32];
	void *data = NULL;
	size_t size, record = l->labels + PIXELS;
	int r = read_file(path, (size_t)1 << 32, &data, &size);

	if (r == 0 && (size == 0 || size % record != 0))
		r = fail("unable to use '%s': its size is no multiple of %zu bytes: truncated?", path, record);
	if (r == 0) {
		s->memory = xrealloc(s->memory, *used + size, 1);
		memcpy(s->memory + *used, data, size);
		read_class_names(folder, l->names, names);
		r = add_records(d, source, file, l, data, size / record, *used, names);
		*used += size;
	}
	free(data);
	free(path);
	return r;
}

static int cifar_scan(struct dataset *d, int source)
{
	const char *path = d->sources[source].path, *file = base_name(path);
	struct dirent **list;
	uint64_t used = 0;
	int n = scandir(path, &list, select_batches, alphasort), r = 0;

	if (n < 0 && errno == ENOTDIR) {
		char *folder = file == path ? xstrdup(".") : xasprintf("%.*s", (int)(file - path), path);

		r = scan_batch(d, source, folder, file, &used);
		free(folder);
		return r;
	}
	if (n < 0)
		return fail("unable to read '%s':", path);
	for (int i = 0; i < n; i++) {
		if (r == 0)
			r = scan_batch(d, source, path, list[i]->d_name, &used);
		free(list[i]);
	}
	free(list);
	return r;
}

static int cifar_load(const struct dataset *d, const struct sample *s, struct bytes *scratch, struct blob *blob)
{
	(void)scratch;
	*blob = (struct blob){
		.kind = BLOB_PLANES, .data = d->sources[s->source].memory + s->offset, .size = s->size, .w = SIDE, .h = SIDE,
	};
	return 0;
}

const struct reader reader_cifar = {
	{ "cifar", "CIFAR-10 and CIFAR-100 binary", NULL }, cifar_claims, cifar_scan, cifar_load, NULL,
};
