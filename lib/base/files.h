/*
 * files.h - whole files: read at once, written whole or not at all
 *
 *	void *data;
 *	size_t size;
 *	if (read_file("labels.tsv", 1 << 20, &data, &size) < 0)
 *		return -1;
 *	...
 *	free(data);
 *	return write_whole("out.bin", emit, &content);
 */
#ifndef BASE_FILES_H
#define BASE_FILES_H

#include "lib/base/base.h"

/* Reads a whole file into a fresh buffer (freed by the caller); at most limit bytes, else fails. */
int read_file(const char *path, size_t limit, void **data, size_t *size);
/* The same of a text, which then ends in a NUL; a byte-order mark in front is dropped, UTF-16 is refused. */
int read_text(const char *path, size_t limit, char **text, size_t *size);
/* Bytes of the UTF-8 byte-order mark that a text begins with: 3, or 0. */
size_t text_mark(const char *text);
/* Makes content appear at path whole or not at all: temporary name, fsync, rename, fsync of the folder. Links are followed; a
 * device or a pipe is written to as it comes, never replaced. emit(fd, arg) writes the content: 0, or -1 after fail(). */
int write_whole(const char *path, int (*emit)(int fd, void *arg), void *arg);
/* The same, and the file that was at path is at kept afterwards, in place of what was there: whenever the process is killed one
 * whole file is at path or at kept. kept: on the same file system; NULL, or where path is no plain file: nothing is kept. */
int write_keeping(const char *path, const char *kept, int (*emit)(int fd, void *arg), void *arg);

#endif
