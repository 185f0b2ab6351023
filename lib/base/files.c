#include "lib/base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- reading --- */

static int read_open(int fd, const char *path, size_t limit, void **data, size_t *size)
{
	struct stat st;
	size_t n = 0, room;
	char *p;

	if (fstat(fd, &st) < 0)
		return fail("unable to read '%s':", path);
	if (S_ISDIR(st.st_mode))
		return fail("unable to read '%s': it is a folder", path);
	room = S_ISREG(st.st_mode) ? (size_t)st.st_size : 0;
	p = xmalloc(room + 1);
	for (;;) {
		ssize_t r;

		if (n > limit) {
			free(p);
			return fail("unable to read '%s': larger than %zu bytes", path, limit);
		}
		if (n == room + 1)
			p = xrealloc(p, (room = 2 * room + 4096) + 1, 1);
		r = read(fd, p + n, room + 1 - n);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0) {
			free(p);
			return fail("unable to read '%s':", path);
		}
		if (r == 0)
			break;
		n += r;
	}
	*data = p;
	*size = n;
	return 0;
}

int read_file(const char *path, size_t limit, void **data, size_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return fail("unable to open '%s':", path);
	r = read_open(fd, path, limit, data, size);
	close(fd);
	return r;
}

size_t text_mark(const char *text)
{
	return strncmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

int read_text(const char *path, size_t limit, char **text, size_t *size)
{
	void *data;
	size_t mark;

	if (read_file(path, limit, &data, size) < 0)
		return -1;
	*text = xrealloc(data, *size + 1, 1);
	(*text)[*size] = '\0';
	if (strncmp(*text, "\xff\xfe", 2) == 0 || strncmp(*text, "\xfe\xff", 2) == 0) {
		free(*text);
		return fail("unable to use '%s': it is UTF-16; save it as UTF-8, or try: iconv -f UTF-16 -t UTF-8", path);
	}
	mark = text_mark(*text);
	*size -= mark;
	memmove(*text, *text + mark, *size + 1);
	return 0;
}

/* --- writing --- */

static void sync_folder(const char *path)
{
	char *folder = xstrdup(path), *slash = strrchr(folder, '/');
	int fd;

	if (slash)
		*slash = '\0';
	fd = open(slash ? (*folder ? folder : "/") : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		fsync(fd); /* some file systems refuse it; the rename itself has succeeded */
		close(fd);
	}
	free(folder);
}

/* The new file takes the old one's place; the old one takes kept's first. */
static int move_in(const char *temporary, const char *path, const char *kept)
{
	if (kept && rename(path, kept) < 0 && errno != ENOENT)
		return fail("unable to rename '%s' to '%s':", path, kept);
	test_point("between-renames");
	if (rename(temporary, path) < 0)
		return fail("unable to rename '%s' to '%s':", temporary, path);
	sync_folder(path);
	return 0;
}

static int write_beside(const char *path, const char *kept, int (*emit)(int fd, void *arg), void *arg)
{
	char *temporary = xasprintf("%s.tmp", path);
	int fd, r = 0;

	test_point("before-write");
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		r = fail("unable to write '%s':", temporary);
	else if (emit(fd, arg) < 0)
		r = -1;
	test_point("before-fsync");
	if (r == 0 && fsync(fd) < 0)
		r = fail("unable to write '%s':", temporary);
	if (fd >= 0 && close(fd) < 0 && r == 0)
		r = fail("unable to write '%s':", temporary);
	test_point("before-rename");
	if (r == 0)
		r = move_in(temporary, path, kept);
	if (r < 0 && fd >= 0)
		unlink(temporary);
	free(temporary);
	return r;
}

static int write_through(const char *path, int (*emit)(int fd, void *arg), void *arg)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), r;

	if (fd < 0)
		return fail("unable to write '%s':", path);
	r = emit(fd, arg);
	if (close(fd) < 0 && r == 0)
		r = fail("unable to write '%s':", path);
	return r;
}

int write_whole(const char *path, int (*emit)(int fd, void *arg), void *arg)
{
	return write_keeping(path, NULL, emit, arg);
}

int write_keeping(const char *path, const char *kept, int (*emit)(int fd, void *arg), void *arg)
{
	struct stat st;
	char *real = lstat(path, &st) == 0 && S_ISLNK(st.st_mode) ? realpath(path, NULL) : NULL;
	const char *to = real ? real : path;
	bool device = stat(to, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
	int r = device ? write_through(to, emit, arg) : write_beside(to, real ? NULL : kept, emit, arg);

	free(real);
	return r;
}
