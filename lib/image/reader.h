/*
 * reader.h - what dataset.c needs of a kind of data set; one row of its table each
 *
 * To add a kind: write its file with one exported struct reader, add it to readers[] in dataset.c.
 */
#ifndef IMAGE_READER_H
#define IMAGE_READER_H

#include <sys/stat.h>

#include "lib/base/options.h"
#include "lib/image/dataset.h"

struct source {
	const struct reader *reader;
	char *path;
	int fd;                 /* -1 when not needed */
	uint8_t *memory;        /* whole content, for kinds that keep it */
	int w, h;               /* of raw pixels */
};

struct reader {
	struct entry entry;
	/* Whether path is of this kind; head holds its first 512 bytes when it is a file, zeros behind the end. */
	bool (*claims)(const char *path, const struct stat *st, const uint8_t *head);
	/* Adds all samples of d->sources[source]. 0, or -1 after fail(). */
	int (*scan)(struct dataset *d, int source);
	int (*load)(const struct dataset *d, const struct sample *s, struct bytes *scratch, struct blob *blob);
};

extern const struct reader reader_folder, reader_tar, reader_idx, reader_cifar;

/* Adds a sample, whose split and class are found from its name later. Returns its number for now, or -1 after fail(). */
int dataset_add(struct dataset *d, int source, const char *name, uint64_t offset, uint64_t size);
/* Whether the name's extension is that of a picture. */
bool is_picture_name(const char *name);
/* Room for size bytes. */
uint8_t *bytes_room(struct bytes *b, size_t size);
/* pread(2) of exactly size bytes into scratch, as a BLOB_FILE. */
int read_span(int fd, uint64_t offset, size_t size, struct bytes *scratch, struct blob *blob);
/* Whether the tar header at head has the checksum it should have. */
bool is_tar_header(const uint8_t head[512]);

#endif
