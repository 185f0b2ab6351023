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
	uint32_t stripped;      /* bytes of folders that were taken off the front of all names */
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
	/* Has the kernel begin to read a sample, without waiting; NULL: all are in memory. */
	void (*expect)(const struct dataset *d, const struct sample *s);
};

extern const struct reader reader_folder, reader_list, reader_tar, reader_idx, reader_cifar;

/* Adds a sample, whose split and class are found from its name later. Returns its number for now, or -1 after fail(). */
int dataset_add(struct dataset *d, int source, const char *name, uint64_t offset, uint64_t size);
/* Counts a file whose name is no picture's, when it is of a kind that would be missed. */
void dataset_pass(struct dataset *d, const char *path);
/* Keeps a text in the pool of d; its offset, or 0 when the pool is full. */
uint32_t dataset_text(struct dataset *d, const char *text);
/* Takes folders off the names from sample first on, as long as all lie in one that is neither a split nor their class. */
void dataset_strip(struct dataset *d, int source, int first);
/* Finds splits and labels of all samples, which are in order. */
void dataset_classify(struct dataset *d);
void classes_release(struct dataset *d);
/* The split that a folder's name of n bytes stands for, or -1. */
int split_of_folder(const char *name, size_t n);
/* How many bytes the first folder of a name has; 0: it lies in none. */
size_t first_folder(const char *name);
/* Whether the name's extension is that of a picture that is read; kinds.h: of others. */
bool is_picture_name(const char *name);
/* Room for size bytes. */
uint8_t *bytes_room(struct bytes *b, size_t size);
/* pread(2) of exactly size bytes into scratch, as a BLOB_FILE. */
int read_span(int fd, uint64_t offset, size_t size, struct bytes *scratch, struct blob *blob);
/* Loads a sample whose name is a path, seen from the source's fd. */
int load_file(const struct dataset *d, const struct sample *s, struct bytes *scratch, struct blob *blob);
void expect_file(const struct dataset *d, const struct sample *s);
/* Whether the tar header at head has the checksum it should have. */
bool is_tar_header(const uint8_t head[512]);

#endif
