/* read_list.c - files named on stdin, a NUL after each name: find photos -name '*.jpg' -print0 | augment -0 */
#include "lib/image/reader.h"

#include <fcntl.h>

#include "lib/base/files.h"

static bool list_claims(const char *path, const struct stat *st, const uint8_t *head)
{
	(void)path;
	(void)st;
	(void)head;
	return false; /* it is asked for, never found */
}

/* A list made of lines may have been made of lines that end in CR LF. */
static int add_file(struct dataset *d, int source, char *name)
{
	size_t n = strlen(name);
	struct stat st;

	if (stat(name, &st) < 0 && name[n - 1] == '\r')
		name[n - 1] = '\0';
	if (stat(name, &st) < 0)
		return fail("unable to open '%s', named on stdin:", name);
	if (kind_of_name(name) >= 0 || kind_is_side(name)) {
		dataset_pass(d, name);
		return 0;
	}
	if (!S_ISREG(st.st_mode))
		return fail("unable to use '%s', named on stdin: it is no file (try find -type f)", name);
	return dataset_add(d, source, name, 0, st.st_size) < 0 ? -1 : 0;
}

static int list_scan(struct dataset *d, int source)
{
	int first = d->count, r = 0;
	char *text;
	size_t size;

	d->sources[source].fd = AT_FDCWD;
	if (read_text("/dev/stdin", (size_t)4 << 30, &text, &size) < 0)
		return -1;
	if (strlen(text) == size && strchr(text, '\n'))
		r = fail("unable to use the list on stdin: it has lines, not names that end in NUL; try: tr -d '\\r' < list | tr "
			 "'\\n' '\\0' | augment -0");
	for (size_t at = 0, n; r == 0 && at < size; at += n + 1) {
		n = strlen(text + at);
		if (n)
			r = add_file(d, source, text + at);
	}
	free(text);
	if (r == 0)
		dataset_strip(d, source, first);
	return r;
}

const struct reader reader_list = {
	{ "list", "names of files on stdin", NULL }, list_claims, list_scan, reader_load_file, reader_expect_file,
};
