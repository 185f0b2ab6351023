/*
 * zip.h - a zip archive in memory, its files where they lie (PKWARE's APPNOTE.TXT 6.3, zip64 included)
 *
 * Made for archives whose files are stored as they are, as PyTorch writes them: a compressed file is listed, with method not 0.
 * Every offset and size is checked against the archive.
 *
 *	struct zip z;
 *	if (zip_open(&z, path, map, size) < 0) return -1;
 *	const struct zip_file *f = zip_find(&z, "archive/data.pkl");     NULL when absent; f->data borrows from map
 *	zip_close(&z);
 */
#ifndef TENSOR_ZIP_H
#define TENSOR_ZIP_H

#include "lib/base/base.h"

struct zip_file {
	const char *name;        /* not ended by a zero */
	int name_length;
	int method;              /* 0: stored as it is */
	const uint8_t *data;
	uint64_t size;           /* in the archive */
};

struct zip {
	struct zip_file *files;  /* sorted by name, each once */
	int count;
};

/* path: only for the sentence. 0, or -1 after fail(). */
int zip_open(struct zip *z, const char *path, const void *map, size_t size);
void zip_close(struct zip *z);
const struct zip_file *zip_find(const struct zip *z, const char *name);

#endif
