/* read_list.c - files named on stdin, a NUL after each name: find photos -name '*.jpg' -print0 | augment -0 */
#include "lib/image/reader.h"

#include <fcntl.h>

static bool list_claims(const char *path, const struct stat *st, const uint8_t *head)
{
	(void)path;
	(void)st;
	(void)head;
	return false; /* it is asked for, never found */
}

static int add_file(struct dataset *d, int source, const char *name)
{
	struct stat st;

	if (stat(name, &st) < 0)
		return fail("unable to open '%s', named on stdin:", name);
	if (!S_ISREG(st.st_mode))
		return fail("unable to use '%s', named on stdin: it is no file (try find -type f)", name);
	return dataset_add(d, source, name, 0, st.st_size) < 0 ? -1 : 0;
}

static int list_scan(struct dataset *d, int source)
{
	int first = d->count, r = 0;
	void *data;
	char *text;
	size_t size;

	d->sources[source].fd = AT_FDCWD;
	if (read_file("/dev/stdin", (size_t)4 << 30, &data, &size) < 0)
		return -1;
	text = xrealloc(data, size + 1, 1);
	text[size] = '\0';
	if (strlen(text) == size && strchr(text, '\n'))
		r = fail("unable to use the list on stdin: it has lines, not names that end in NUL; try: tr '\\n' '\\0' < list | augment -0");
	for (size_t at = 0; r == 0 && at < size; at += strlen(text + at) + 1)
		if (text[at])
			r = add_file(d, source, text + at);
	free(text);
	if (r == 0)
		dataset_strip(d, source, first);
	return r;
}

const struct reader reader_list = {
	{ "list", "names of files on stdin", NULL }, list_claims, list_scan, load_file, expect_file,
};
