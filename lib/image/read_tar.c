/* read_tar.c - pictures in a tar: ustar, pax paths and sizes, GNU long names; WebDataset's classes; stdin through a spool */
#include "lib/image/reader.h"
#include "lib/image/webdataset.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { BLOCK = 512, PATH_ROOM = 4096, EXTRA_MAX = 1 << 20 };

/* State of one pass over the headers. */
struct walk {
	struct dataset *d;
	int source, fd, first;       /* number of this source's first sample */
	uint64_t at, end;            /* next byte; size of the file */
	char name[PATH_ROOM];        /* from a pax or long name record, for the next member; "" when there was none */
	int64_t size;                /* likewise; -1 */
	char key[PATH_ROOM];         /* WebDataset: the samples [key_first, count) share it */
	int key_first, key_rank;     /* rank: of the member that said the class, see webdataset.h */
	uint32_t key_class;
	struct webdataset said;      /* every class that a member said */
	bool parted;                 /* some key had either pictures or a class where it stood, not both */
};

static const char *path_of(const struct walk *w)
{
	return w->d->sources[w->source].path;
}

/* --- header fields --- */

/* Octal text, or binary when the top bit is set (GNU, for more than 8 GB). -1 when it is neither. */
static int64_t number(const uint8_t *p, int n)
{
	uint64_t v = 0;

	if (p[0] & 0x80) {
		for (int i = 1; i < n; i++)
			v = v << 8 | p[i];
		return p[0] == 0x80 && p[1] == 0 && p[2] == 0 && p[3] == 0 && v <= INT64_MAX / 2 ? (int64_t)v : -1;
	}
	while (n > 0 && *p == ' ')
		p++, n--;
	for (; n > 0 && *p >= '0' && *p <= '7'; p++, n--)
		v = v << 3 | (*p - '0');
	return n == 0 || *p == ' ' || *p == '\0' ? (int64_t)v : -1;
}

static bool is_header(const uint8_t head[BLOCK])
{
	int64_t sum = 0;

	for (int i = 0; i < BLOCK; i++)
		sum += i >= 148 && i < 156 ? ' ' : head[i];
	return head[0] != '\0' && number(head + 148, 8) == sum;
}

static bool is_zero(const uint8_t *head)
{
	return head[0] == 0 && memcmp(head, head + 1, BLOCK - 1) == 0;
}

static int read_exactly(struct walk *w, uint64_t at, void *dst, size_t n)
{
	char *p = dst;

	while (n > 0) {
		ssize_t got = pread(w->fd, p, n, (off_t)at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return fail(got < 0 ? "unable to read '%s':" : "unable to read '%s': it is truncated", path_of(w));
		p += got;
		at += got;
		n -= got;
	}
	return 0;
}

/* --- pax and GNU records: they speak of the member that follows --- */

/* Records "LENGTH KEY=VALUE\n"; damage ends the reading of them. */
static void parse_pax(struct walk *w, char *text, size_t n)
{
	char *p = text, *end = text + n;

	while (p < end) {
		char *space = memchr(p, ' ', end - p), *equals;
		int64_t length;

		if (!space)
			return;
		*space = '\0';
		if (parse_int(p, &length) < 0 || length <= space - p + 1 || length > end - p)
			return;
		p[length - 1] = '\0';
		equals = strchr(space + 1, '=');
		if (!equals)
			return;
		if (strncmp(space + 1, "path=", 5) == 0)
			format(w->name, sizeof(w->name), "%s", equals + 1);
		if (strncmp(space + 1, "size=", 5) == 0)
			parse_int(equals + 1, &w->size);
		p += length;
	}
}

static int read_extra(struct walk *w, char type, uint64_t at, int64_t size)
{
	char *text;
	int r;

	if (type != 'x' && type != 'L')
		return 0;
	if (size > EXTRA_MAX)
		return fail("unable to read '%s': a name of %lld bytes", path_of(w), (long long)size);
	text = xcalloc(size + 1, 1);
	r = read_exactly(w, at, text, size);
	if (r == 0 && type == 'L')
		format(w->name, sizeof(w->name), "%s", text);
	else if (r == 0)
		parse_pax(w, text, size);
	free(text);
	return r;
}

/* --- members --- */

static void member_name(struct walk *w, const uint8_t *head, char dst[PATH_ROOM])
{
	const char *h = (const char *)head;
	bool prefixed = memcmp(h + 257, "ustar\0", 6) == 0 && h[345];

	if (w->name[0])
		format(dst, PATH_ROOM, "%s", w->name);
	else if (prefixed)
		format(dst, PATH_ROOM, "%.155s/%.100s", h + 345, h);
	else
		format(dst, PATH_ROOM, "%.100s", h);
	while (strncmp(dst, "./", 2) == 0)
		memmove(dst, dst + 2, strlen(dst) - 1);
	while (dst[0] == '/')
		memmove(dst, dst + 1, strlen(dst));
}

static void leave_key(struct walk *w)
{
	w->parted |= (w->d->count > w->key_first) != (w->key_class != 0);
}

/* Samples of one key share a class, said before or after them. */
static void enter_key(struct walk *w, const char *name)
{
	size_t n = webdataset_key(name);

	if (strlen(w->key) == n && memcmp(w->key, name, n) == 0)
		return;
	leave_key(w);
	memcpy(w->key, name, n);
	w->key[n] = '\0';
	w->key_first = w->d->count;
	w->key_class = 0;
	w->key_rank = 0;
}

/* Classes that stood elsewhere in the tar than their pictures. */
static void join_apart(struct walk *w)
{
	int lonely;

	leave_key(w);
	lonely = w->parted ? webdataset_join(&w->said, w->d, w->first) : 0;
	if (lonely)
		note("'%s' holds the classes of %d pictures that it does not hold", path_of(w), lonely);
}

/* Reads a member that may say the class of its key. */
static int read_class(struct walk *w, const char *name, uint64_t at, int64_t size)
{
	char *text, class[WEBDATASET_CLASS];
	int rank = webdataset_rank(name), r;

	if (rank <= w->key_rank || size < 1 || size > EXTRA_MAX)
		return 0;
	text = xcalloc(size + 1, 1);
	r = read_exactly(w, at, text, size);
	if (r == 0 && webdataset_class(rank, text, size, class)) {
		w->key_class = dataset_text(w->d, class);
		w->key_rank = rank;
		webdataset_add(&w->said, name, w->key_class, rank);
	}
	free(text);
	return r;
}

static int add_member(struct walk *w, const char *name, uint64_t at, int64_t size)
{
	const char *base = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;

	if (base[0] == '.')
		return 0;
	enter_key(w, name);
	if (read_class(w, name, at, size) < 0)
		return -1;
	if (!kind_is_picture(base) && !webdataset_rank(name))
		dataset_pass(w->d, name);
	else if (kind_is_picture(base) && dataset_add(w->d, w->source, name, at, size) < 0)
		return -1;
	for (int i = w->key_first; w->key_class && i < w->d->count; i++)
		w->d->samples[i].class = w->key_class;
	return 0;
}

/* One header and what belongs to it. */
static int step(struct walk *w, const uint8_t *head)
{
	char name[PATH_ROOM], type = (char)head[156];
	int64_t size = number(head + 124, 12);

	if (head[0] == 0x1f && head[1] == 0x8b)
		return fail("unable to read '%s': it is compressed; try: zcat FILE | augment ... -", path_of(w));
	if (w->at == 0 && !is_header(head))
		return fail("unable to read '%s': it is no tar", path_of(w));
	if (!is_header(head) || size < 0)
		return fail("unable to read '%s': it is damaged at byte %llu", path_of(w), (unsigned long long)w->at);
	if (w->size >= 0 && type != 'x' && type != 'L')
		size = w->size;
	w->at += BLOCK;
	if (w->at > w->end || (uint64_t)size > w->end - w->at)
		return fail("unable to read '%s': it is truncated", path_of(w));
	if (read_extra(w, type, w->at, size) < 0)
		return -1;
	member_name(w, head, name);
	if ((type == '0' || type == '\0' || type == '7') && add_member(w, name, w->at, size) < 0)
		return -1;
	if (type != 'x' && type != 'L' && type != 'K' && type != 'g') {
		w->name[0] = '\0';
		w->size = -1;
	}
	w->at += ((uint64_t)size + BLOCK - 1) / BLOCK * BLOCK;
	return 0;
}

/* Two zero blocks end a tar, but another one may follow: cat *.tar | augment - */
static int walk_members(struct walk *w)
{
	uint8_t head[BLOCK];
	bool ended = false;

	while (w->at + BLOCK <= w->end) {
		if (read_exactly(w, w->at, head, BLOCK) < 0)
			return -1;
		ended = is_zero(head);
		if (ended)
			w->at += BLOCK;
		else if (step(w, head) < 0)
			return -1;
	}
	if (!ended && w->at < w->end)
		return fail("unable to read '%s': it is %s", path_of(w), w->at ? "truncated" : "no tar, or a truncated one");
	if (!ended && w->end)
		note("'%s' lacks the mark that ends a tar: is it whole?", path_of(w));
	return 0;
}

/* --- reader --- */

static int copy_all(int from, int to, const char *path)
{
	char *block = xmalloc(1 << 20);
	ssize_t n;
	int r = 0;

	while (r == 0 && (n = read(from, block, 1 << 20)) != 0)
		if ((n < 0 && errno != EINTR) || (n > 0 && write_all(to, block, n) < 0))
			r = fail("unable to spool '%s' to a file in TMPDIR or /tmp:", path);
	free(block);
	return r;
}

/* Copies a pipe to a file that has no name, so that it can be read again; a file on stdin serves as it is. */
static int spool(int from, const char *path)
{
	const char *folder = getenv("TMPDIR");
	char *name = xasprintf("%s/augment-XXXXXX", folder && *folder ? folder : "/tmp");
	struct stat st;
	int fd = -1;

	if (fstat(from, &st) == 0 && S_ISREG(st.st_mode)) {
		fd = dup(from);
	} else if ((fd = mkostemp(name, O_CLOEXEC)) < 0) {
		fail("unable to spool '%s' to '%s':", path, name);
	} else {
		unlink(name);
		if (copy_all(from, fd, path) < 0) {
			close(fd);
			fd = -1;
		}
	}
	free(name);
	return fd;
}

static bool tar_claims(const char *path, const struct stat *st, const uint8_t *head)
{
	(void)path;
	return S_ISFIFO(st->st_mode) || (S_ISREG(st->st_mode) && is_header(head));
}

/* Makes the source's file one that can be read from any place. */
static int open_file(struct source *s, struct stat *st)
{
	int from = s->fd;

	if (from >= 0 && (fstat(from, st) < 0 || !S_ISFIFO(st->st_mode)))
		return 0;
	s->fd = spool(from < 0 ? STDIN_FILENO : from, s->path);
	if (from >= 0)
		close(from);
	return s->fd < 0 || fstat(s->fd, st) < 0 ? -1 : 0;
}

static int tar_scan(struct dataset *d, int source)
{
	struct walk *w;
	struct stat st;
	int r;

	if (open_file(&d->sources[source], &st) < 0)
		return -1;
	w = xcalloc(1, sizeof(*w));
	*w = (struct walk){
		.d = d, .source = source, .fd = d->sources[source].fd, .first = d->count, .key_first = d->count,
		.end = st.st_size, .size = -1,
	};
	r = walk_members(w);
	if (r == 0) {
		join_apart(w);
		dataset_strip(d, source, w->first);
	}
	webdataset_release(&w->said);
	free(w);
	return r;
}

static int tar_load(const struct dataset *d, const struct sample *s, struct bytes *scratch, struct blob *blob)
{
	return reader_span(d->sources[s->source].fd, s->offset, s->size, scratch, blob);
}

static void tar_expect(const struct dataset *d, const struct sample *s)
{
	posix_fadvise(d->sources[s->source].fd, (off_t)s->offset, s->size, POSIX_FADV_WILLNEED);
}

const struct reader reader_tar = {
	{ "tar", "ustar, pax, GNU; WebDataset", NULL }, tar_claims, tar_scan, tar_load, tar_expect,
};
