#include "lib/tensor/zip.h"

enum { LOCAL = 0x04034b50, CENTRAL = 0x02014b50, END = 0x06054b50, END64 = 0x06064b50, LOCATOR64 = 0x07064b50 };
enum { LOCAL_SIZE = 30, CENTRAL_SIZE = 46, END_SIZE = 22, END64_SIZE = 56, LOCATOR64_SIZE = 20, COMMENT_MAX = 65535 };

struct archive {
	const char *path;
	const uint8_t *map;
	size_t size;
};

static int refuse(const struct archive *a, const char *cause)
{
	return fail("unable to read '%s': %s; it is damaged, or cut off", a->path, cause);
}

/* A little-endian number of n bytes. */
static uint64_t number(const uint8_t *p, int n)
{
	uint64_t v = 0;

	while (n-- > 0)
		v = v << 8 | p[n];
	return v;
}

/* A record of n bytes at an offset, if the archive has it and it begins with its signature; else NULL. */
static const uint8_t *record_at(const struct archive *a, uint64_t offset, size_t n, uint32_t signature)
{
	if (offset > a->size || a->size - offset < n || number(a->map + offset, 4) != signature)
		return NULL;
	return a->map + offset;
}

/* The end record is the last thing in an archive, but for a comment of the length that it tells. */
static const uint8_t *find_end(const struct archive *a)
{
	for (size_t comment = 0; comment <= COMMENT_MAX && comment + END_SIZE <= a->size; comment++) {
		const uint8_t *end = record_at(a, a->size - END_SIZE - comment, END_SIZE, END);

		if (end && number(end + 20, 2) == comment)
			return end;
	}
	return NULL;
}

struct directory {
	uint64_t count, offset, size;
};

static int find_directory(const struct archive *a, struct directory *d)
{
	const uint8_t *end = find_end(a), *locator, *end64;

	if (!end)
		return refuse(a, "the list of files at its end is missing");
	*d = (struct directory){ number(end + 10, 2), number(end + 16, 4), number(end + 12, 4) };
	locator = end - a->map < LOCATOR64_SIZE ? NULL : record_at(a, end - a->map - LOCATOR64_SIZE, LOCATOR64_SIZE, LOCATOR64);
	end64 = locator ? record_at(a, number(locator + 8, 8), END64_SIZE, END64) : NULL;
	if (end64)
		*d = (struct directory){ number(end64 + 32, 8), number(end64 + 48, 8), number(end64 + 40, 8) };
	if (d->offset > a->size || d->size > a->size - d->offset || d->count > MIN(d->size / CENTRAL_SIZE, INT32_MAX / 2))
		return refuse(a, "its list of files lies beyond its end");
	return 0;
}

struct place {
	uint64_t size, packed, offset;
};

/* Numbers that do not fit 32 bits stand in an extra field of kind 1, in this order, only those that are needed. */
static void read_place64(const uint8_t *extra, size_t length, struct place *at)
{
	uint64_t *wide[] = { &at->size, &at->packed, &at->offset };

	while (length >= 4) {
		size_t n = number(extra + 2, 2), used = 0;

		if (n > length - 4)
			return;
		for (int i = 0; number(extra, 2) == 1 && i < ARRAY_SIZE(wide); i++) {
			if (*wide[i] != UINT32_MAX || used + 8 > n)
				continue;
			*wide[i] = number(extra + 4 + used, 8);
			used += 8;
		}
		extra += 4 + n;
		length -= 4 + n;
	}
}

/* Fills f with what the list says at *offset, and moves that on. */
static int read_file_entry(const struct archive *a, uint64_t *offset, uint64_t end, struct zip_file *f)
{
	const uint8_t *c = record_at(a, *offset, CENTRAL_SIZE, CENTRAL), *local;
	size_t name, extra, whole;
	struct place at;
	uint64_t data;

	if (!c)
		return refuse(a, "its list of files is broken");
	name = number(c + 28, 2);
	extra = number(c + 30, 2);
	whole = CENTRAL_SIZE + name + extra + number(c + 32, 2);
	if (whole > end - *offset)
		return refuse(a, "its list of files is broken");
	at = (struct place){ number(c + 24, 4), number(c + 20, 4), number(c + 42, 4) };
	read_place64(c + CENTRAL_SIZE + name, extra, &at);
	local = record_at(a, at.offset, LOCAL_SIZE, LOCAL);
	data = local ? at.offset + LOCAL_SIZE + number(local + 26, 2) + number(local + 28, 2) : a->size + 1;
	if (data > a->size || at.packed > a->size - data)
		return refuse(a, "one of its files lies beyond its end");
	*f = (struct zip_file){ (const char *)c + CENTRAL_SIZE, (int)name, (int)number(c + 10, 2), a->map + data, at.packed };
	if (f->method == 0 && (at.size != at.packed || (number(c + 8, 2) & 1)))
		return refuse(a, "one of its files is encrypted or has two sizes");
	*offset += whole;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	const struct zip_file *x = a, *y = b;
	int r = memcmp(x->name, y->name, MIN(x->name_length, y->name_length));

	return r ? r : x->name_length - y->name_length;
}

static int read_directory(struct zip *z, const struct archive *a)
{
	struct directory d = { 0 };

	if (find_directory(a, &d) < 0)
		return -1;
	z->files = xcalloc(d.count, sizeof(*z->files));
	for (uint64_t at = d.offset; z->count < (int)d.count; z->count++)
		if (read_file_entry(a, &at, d.offset + d.size, &z->files[z->count]) < 0)
			return -1;
	qsort(z->files, z->count, sizeof(*z->files), by_name);
	for (int i = 1; i < z->count; i++)
		if (by_name(&z->files[i - 1], &z->files[i]) == 0)
			return refuse(a, "two of its files have one name");
	return 0;
}

int zip_open(struct zip *z, const char *path, const void *map, size_t size)
{
	struct archive a = { path, map, size };

	memset(z, 0, sizeof(*z));
	if (read_directory(z, &a) == 0)
		return 0;
	zip_close(z);
	return -1;
}

void zip_close(struct zip *z)
{
	free(z->files);
	memset(z, 0, sizeof(*z));
}

const struct zip_file *zip_find(const struct zip *z, const char *name)
{
	struct zip_file key = { .name = name, .name_length = (int)strlen(name) };

	return z->count ? bsearch(&key, z->files, z->count, sizeof(key), by_name) : NULL;
}
