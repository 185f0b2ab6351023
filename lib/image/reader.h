/*
 * reader.h - what reader.c needs of a kind of data set, one row of its table each; and what readers share
 *
 * To add a kind: write its file with one exported struct reader, add it to readers[] in reader.c.
 */
#ifndef IMAGE_READER_H
#define IMAGE_READER_H

#include <sys/stat.h>

#include "lib/base/options.h"
#include "lib/image/dataset.h"

struct reader {
	struct entry entry;
	/* Whether path is of this kind; head holds its first 512 bytes when it is a file, zeros behind the end. */
	bool (*claims)(const char *path, const struct stat *st, const uint8_t *head);
	/* Adds all samples of d->sources[source]. 0, or -1 after fail(). */
	int (*scan)(struct dataset *d, int source);
	int (*load)(const struct dataset *d, const struct sample *s, struct bytes *scratch, struct blob *blob);
	/* Has the kernel begin to read a sample, without waiting; NULL: all are in memory. */
	void (*expect)(const struct dataset *d, const struct sample *s);
};

extern const struct reader reader_folder, reader_list, reader_tar, reader_idx, reader_cifar;

/* pread(2) of exactly size bytes into scratch, as a BLOB_FILE. */
int reader_span(int fd, uint64_t offset, size_t size, struct bytes *scratch, struct blob *blob);
/* load() and expect() of samples whose names are paths, seen from the source's fd. */
int reader_load_file(const struct dataset *d, const struct sample *s, struct bytes *scratch, struct blob *blob);
void reader_expect_file(const struct dataset *d, const struct sample *s);

#endif
