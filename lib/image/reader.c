/* reader.c - opening a data set, each path by the reader that knows its kind; and the bytes of a sample, which readers load */
#include "lib/image/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SAMPLE_BYTES_MAX = 256 << 20, SOURCES_MAX = 65535 };

static const struct reader *const readers[] = { &reader_idx, &reader_cifar, &reader_folder, &reader_tar };

/* --- memory of one sample --- */

/* Room for size bytes. */
static uint8_t *bytes_room(struct bytes *b, size_t size)
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

int reader_span(int fd, uint64_t offset, size_t size, struct bytes *scratch, struct blob *blob)
{
	uint8_t *p;
	size_t done = 0;
	int flags = RWF_NOWAIT;

	if (size > SAMPLE_BYTES_MAX)
		return fail("it has %zu bytes, more than the limit of %d", size, SAMPLE_BYTES_MAX);
	p = bytes_room(scratch, size);
	while (done < size) {
		ssize_t n = preadv2(fd, &(struct iovec){ p + done, size - done }, 1, (off_t)(offset + done), flags);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && flags && (errno == EAGAIN || errno == EOPNOTSUPP)) {
			scratch->waited = true;
			flags = 0;
			continue;
		}
		if (n < 0)
			return fail("unable to read it:");
		if (n == 0)
			return fail("it has become shorter since the start");
		done += n;
	}
	*blob = (struct blob){ .kind = BLOB_FILE, .data = p, .size = size };
	return 0;
}

int reader_load_file(const struct dataset *d, const struct sample *s, struct bytes *scratch, struct blob *blob)
{
	const struct source *from = &d->sources[s->source];
	int fd = openat(from->fd, d->names + s->name - from->stripped, O_RDONLY | O_CLOEXEC), r;

	struct stat st;

	if (fd < 0)
		return fail("unable to open it:");
	if (fstat(fd, &st) == 0 && MIN(st.st_size, UINT32_MAX) != s->size)
		r = fail("it has %lld bytes, not %u as it had (touch its folder to have it read anew)", (long long)st.st_size,
			 s->size);
	else
		r = reader_span(fd, 0, s->size, scratch, blob);
	close(fd);
	return r;
}

void reader_expect_file(const struct dataset *d, const struct sample *s)
{
	const struct source *from = &d->sources[s->source];
	int fd = openat(from->fd, d->names + s->name - from->stripped, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	posix_fadvise(fd, 0, s->size, POSIX_FADV_WILLNEED);
	close(fd);
}

/* --- by the reader of its source --- */

int dataset_load(const struct dataset *d, int sample, struct bytes *scratch, struct blob *blob)
{
	const struct sample *s = &d->samples[sample];

	return d->sources[s->source].reader->load(d, s, scratch, blob);
}

void dataset_expect(const struct dataset *d, int sample)
{
	const struct sample *s = &d->samples[sample];

	if (d->sources[s->source].reader->expect)
		d->sources[s->source].reader->expect(d, s);
}

/* --- opening --- */

static int unknown_kind(const char *path, const struct stat *st, const uint8_t *head)
{
	const char *kind = kind_of_bytes(head, 512);
	const char *dot = strrchr(path, '.');
	int counts[FILE_KINDS] = { 0 }, named = dot && strcasecmp(dot, ".tar") == 0 ? -1 : kind_of_name(path);
	char text[KINDS_TEXT];

	if (S_ISREG(st->st_mode) && st->st_size == 0)
		return fail("unable to use '%s': it is empty", path);
	if (kind_is_picture(path))
		return fail("unable to use '%s': it is one picture; name its folder, or write the names of pictures into: "
			    "augment -0",
			    path);
	if (strstr(path, "cifar-10") && strstr(path, "-python"))
		return fail("unable to use '%s': that is the Python version of CIFAR: take the binary version, %s", path,
			    strstr(path, "cifar-100") ? "cifar-100-binary.tar.gz" : "cifar-10-binary.tar.gz");
	if (strstr(path, "cifar-10") && strstr(path, "-binary.tar.gz"))
		return fail("unable to use '%s': unpack it, and name the folder that comes of it; try: tar xzf %s", path, path);
	if (head[0] == 0x1f && head[1] == 0x8b)
		return fail("unable to use '%s': it is compressed; for a tar, try: zcat %s | augment ... -", path, path);
	if (named >= 0)
		counts[named] = 1;
	if (kinds_tell(text, counts))
		return fail("unable to use '%s': it is no data set but %s", path, text);
	return fail("unable to use '%s': it is %s%sneither a folder of pictures, a tar, IDX nor CIFAR file", path,
		    kind ? kind : "", kind ? ", " : "");
}

/* The reader of a file or folder, by what it is. */
static const struct reader *find_reader(const char *path, const struct stat *st, const uint8_t *head)
{
	for (size_t i = 0; i < ARRAY_SIZE(readers); i++)
		if (readers[i]->claims(path, st, head))
			return readers[i];
	return NULL;
}

static int source_open(struct dataset *d, const char *path, bool list)
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
	s->reader = !is_stdin ? find_reader(path, &st, head) : list ? &reader_list : &reader_tar;
	if (!s->reader)
		return unknown_kind(path, &st, head);
	return s->reader->scan(d, d->source_count - 1);
}

/* Opens all sources and puts their samples in order. */
static int read_sources(struct dataset *d, char *const *paths, int count, bool list)
{
	char text[KINDS_TEXT];

	d->sources = xcalloc(count + 1, sizeof(*d->sources));
	dataset_text(d, ""); /* offset 0: no text */
	if (count < 1)
		return fail_code(EXIT_USAGE, "no data given: name a folder, tar, IDX or CIFAR file");
	if (count > SOURCES_MAX)
		return fail_code(EXIT_USAGE, "more than %d paths", SOURCES_MAX);
	for (int i = 0; i < count; i++)
		if (source_open(d, paths[i], list) < 0)
			return -1;
	if (d->count == 0)
		return fail("found no pictures (.jpg, .png, .webp, .heic, .avif, .tif) in '%s'%s%s%s", paths[0],
			    count > 1 ? " nor in the others" : "", kinds_tell(text, d->passed) ? ", but " : "", text);
	dataset_settle(d);
	return 0;
}

static void note_passed(struct dataset *d)
{
	char text[KINDS_TEXT];

	if (d->class_count)
		kinds_forget_classes(d->passed);
	if (kinds_tell(text, d->passed))
		note("passed over %s", text);
}

struct dataset *dataset_open(char *const *paths, int count, bool list)
{
	struct dataset *d = xcalloc(1, sizeof(*d));

	if (read_sources(d, paths, count, list) < 0) {
		dataset_free(d);
		return NULL;
	}
	dataset_classify(d);
	note_passed(d);
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
	dataset_forget_classes(d);
	free(d->sources);
	free(d->samples);
	free(d->names);
	free(d);
}
