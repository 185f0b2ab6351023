/*
 * read_idx.c - IDX, the format of MNIST, plain or gzip: u32 big-endian numbers, then bytes
 *
 * Images: 0x803, count, rows, columns, pixels. Labels: 0x801, count, labels.
 */
#include "lib/image/reader.h"

#include <dirent.h>
#include <errno.h>
#include <unistd.h>
#include <zlib.h>

enum { IMAGES = 0x803, LABELS = 0x801 };
#define IDX_BYTES_MAX (16ULL << 30)

struct idx {
	uint8_t *data;
	uint64_t count;
	uint32_t h, w;
};

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int read_fully(gzFile f, const char *path, uint8_t *dst, size_t n)
{
	while (n > 0) {
		int got = gzread(f, dst, (unsigned)MIN(n, 1u << 20)), code;

		if (got < 0)
			return fail("unable to read '%s': %s", path, gzerror(f, &code));
		if (got == 0)
			return fail("unable to read '%s': it is truncated", path);
		dst += got;
		n -= got;
	}
	return 0;
}

/* Memory grows with what is really there: a damaged header must not claim it all at once. */
static int read_body(gzFile f, const char *path, struct idx *x, uint64_t need)
{
	uint64_t have = 0, room = 0;

	while (have < need) {
		uint64_t part = MIN(need - have, MAX(have, 1u << 24));

		room = have + part;
		x->data = xrealloc(x->data, room, 1);
		if (read_fully(f, path, x->data + have, part) < 0)
			return -1;
		have += part;
	}
	return 0;
}

static int read_open(gzFile f, const char *path, uint32_t magic, struct idx *x)
{
	uint8_t head[16];
	uint64_t each = 1;

	if (read_fully(f, path, head, 8) < 0)
		return -1;
	if (be32(head) != magic)
		return fail("unable to use '%s': it holds no IDX %s of bytes", path, magic == IMAGES ? "images" : "labels");
	x->count = be32(head + 4);
	if (magic == IMAGES) {
		if (read_fully(f, path, head + 8, 8) < 0)
			return -1;
		x->h = be32(head + 8);
		x->w = be32(head + 12);
		if (x->h < 1 || x->w < 1 || x->h > 65535 || x->w > 65535 || (uint64_t)x->h * x->w > PICTURE_PIXELS)
			return fail("unable to use '%s': images of %u x %u pixels", path, x->w, x->h);
		each = (uint64_t)x->h * x->w;
	}
	if (x->count < 1 || x->count * each > IDX_BYTES_MAX || x->count > INT32_MAX)
		return fail("unable to use '%s': it claims %llu records", path, (unsigned long long)x->count);
	return read_body(f, path, x, x->count * each);
}

static int idx_read(const char *path, uint32_t magic, struct idx *x)
{
	gzFile f = gzopen(path, "rb");
	int r;

	*x = (struct idx){ 0 };
	if (!f)
		return fail("unable to open '%s':", path);
	gzbuffer(f, 1 << 18);
	r = read_open(f, path, magic, x);
	gzclose(f);
	if (r < 0) {
		free(x->data);
		x->data = NULL;
	}
	return r;
}

/* The images' path with another word in it: train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz, or with dots. */
static char *labels_path(const char *images)
{
	const char *at = strstr(images, "images"), *dim = at ? strstr(at, "idx3") : NULL;

	while (at && strstr(at + 1, "images"))
		dim = strstr(at = strstr(at + 1, "images"), "idx3");
	if (!dim)
		return NULL;
	return xasprintf("%.*slabels%.*sidx1%s", (int)(at - images), images, (int)(dim - at - 6), at + 6, dim + 4);
}

static bool is_images_name(const char *name)
{
	const char *images = strstr(name, "images");

	return images && strstr(images, "idx3");
}

/* --- reader --- */

static bool folder_has_images(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e;
	bool found = false;

	while (dir && !found && (e = readdir(dir)) != NULL)
		found = is_images_name(e->d_name);
	if (dir)
		closedir(dir);
	return found;
}

static bool idx_claims(const char *path, const struct stat *st, const uint8_t *head)
{
	if (S_ISDIR(st->st_mode))
		return folder_has_images(path);
	return S_ISREG(st->st_mode) && (be32(head) == IMAGES || (head[0] == 0x1f && head[1] == 0x8b && is_images_name(path)));
}

/* Names look like those of a folder: SPLIT/CLASS/NUMBER, so that everything that reads names works here too. */
static int add_samples(struct dataset *d, int source, const char *file, const struct idx *x, const uint8_t *labels, uint64_t base)
{
	const char *split = strstr(file, "t10k") || strstr(file, "test") ? "test" : "train";
	int max = 0, digits;

	for (uint64_t i = 0; labels && i < x->count; i++)
		max = MAX(max, labels[i]);
	digits = max > 99 ? 3 : max > 9 ? 2 : 1;
	for (uint64_t i = 0; i < x->count; i++) {
		char name[64];

		if (labels)
			snprintf(name, sizeof(name), "%s/%0*d/%06llu", split, digits, labels[i], (unsigned long long)i);
		else
			snprintf(name, sizeof(name), "%s/%06llu", split, (unsigned long long)i);
		if (dataset_add(d, source, name, base + i * x->h * x->w, (uint64_t)x->h * x->w) < 0)
			return -1;
	}
	return 0;
}

/* Appends the images of one file to the source's memory. */
static int keep_images(struct source *s, const char *path, struct idx *x, uint64_t *base, uint64_t *used)
{
	uint64_t size = x->count * x->h * x->w;

	if (s->memory && (s->w != (int)x->w || s->h != (int)x->h))
		return fail("unable to use '%s': its images are %u x %u, those before %d x %d", path, x->w, x->h, s->w, s->h);
	s->w = (int)x->w;
	s->h = (int)x->h;
	*base = *used;
	if (s->memory) {
		s->memory = xrealloc(s->memory, *used + size, 1);
		memcpy(s->memory + *used, x->data, size);
	} else {
		s->memory = x->data;
		x->data = NULL;
	}
	*used += size;
	return 0;
}

static int scan_file(struct dataset *d, int source, const char *path, uint64_t *used)
{
	struct idx images = { 0 }, labels = { 0 };
	const char *file = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	char *label_file = labels_path(path);
	uint64_t base = 0;
	int r = idx_read(path, IMAGES, &images);

	if (r == 0 && label_file && access(label_file, F_OK) == 0) {
		r = idx_read(label_file, LABELS, &labels);
		if (r == 0 && labels.count != images.count)
			r = fail("unable to use '%s': %llu labels for %llu images", label_file, (unsigned long long)labels.count,
				 (unsigned long long)images.count);
	}
	if (r == 0)
		r = keep_images(&d->sources[source], path, &images, &base, used);
	if (r == 0)
		r = add_samples(d, source, file, &images, labels.data, base);
	free(images.data);
	free(labels.data);
	free(label_file);
	return r;
}

static int select_images(const struct dirent *e)
{
	return is_images_name(e->d_name);
}

static int idx_scan(struct dataset *d, int source)
{
	const char *path = d->sources[source].path;
	struct dirent **list;
	uint64_t used = 0;
	int n = scandir(path, &list, select_images, alphasort), r = 0;

	if (n < 0 && errno == ENOTDIR)
		return scan_file(d, source, path, &used);
	if (n < 0)
		return fail("unable to read '%s':", path);
	for (int i = 0; i < n; i++) {
		char *file = xasprintf("%s/%s", path, list[i]->d_name);

		if (r == 0)
			r = scan_file(d, source, file, &used);
		free(file);
		free(list[i]);
	}
	free(list);
	return r;
}

static int idx_load(const struct dataset *d, const struct sample *s, struct bytes *scratch, struct blob *blob)
{
	const struct source *from = &d->sources[s->source];

	(void)scratch;
	*blob = (struct blob){ .kind = BLOB_GREY, .data = from->memory + s->offset, .size = s->size, .w = from->w, .h = from->h };
	return 0;
}

const struct reader reader_idx = {
	{ "idx", "IDX images and labels, .gz too", NULL }, idx_claims, idx_scan, idx_load, NULL,
};
