/*
 * lines.h - a text file whose lines begin with names of samples, to be looked up
 *
 * A name may leave the folder of the split out: class/file stands for train/class/file too.
 *
 *	struct lines l;
 *	if (lines_read(&l, "labels.tsv", '\t') < 0)          key, tab, value; 0: the key is the whole line
 *		return -1;
 *	int at = lines_meet(&l, d, 12);                      -1: no line names sample 12
 *	const char *value = l.keys[at] + strlen(l.keys[at]) + 1;
 *	lines_release(&l);
 */
#ifndef IMAGE_LINES_H
#define IMAGE_LINES_H

#include "lib/image/dataset.h"

struct lines {
	char *text;
	char **keys;     /* sorted; behind a key's NUL comes its value */
	bool *met;       /* which of them lines_meet() has given */
	int count;
};

/* Reads a file; empty lines are passed over. Fails on a line without the separator, on two lines with one key
 * and different values, and on a file without lines. */
int lines_read(struct lines *l, const char *path, char separator);
/* The line that names a sample, or -1. */
int lines_meet(struct lines *l, const struct dataset *d, int sample);
void lines_release(struct lines *l);

#endif
