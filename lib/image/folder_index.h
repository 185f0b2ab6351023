/*
 * folder_index.h - what the folders of a tree held when they were last read, kept in $XDG_CACHE_HOME/sprat (else ~/.cache/sprat)
 *
 * Each folder is kept with a stamp of what stat(2) says of it: adding, removing or renaming an entry changes the folder's times,
 * so a stamp that is still the same saves reading it and asking for the size of every file. A folder that has changed in the last
 * two seconds is kept without a stamp, as another change might leave the same times. A file written over in place changes no
 * folder: reader_load_file() notices its new size.
 *
 *	struct folder_index x;
 *	folder_index_open(&x, "photos");
 *	if (!folder_index_find(&x, "cat/", stamp)) {            copies the listing from the old index to the new one
 *		folder_index_begin(&x, "cat/", stamp);
 *		folder_index_entry(&x, "0001.jpg", 5120);       in order; the name of a folder ends in '/'
 *		folder_index_end(&x);
 *	}
 *	size_t at = folder_index_entries(&x, listing), end = x.used;   listing: x.used before that
 *	while ((name = folder_index_next(&x, &at, end, &size)) != NULL)
 *		...
 *	folder_index_close(&x, true);                           writes the new index if it differs and is worth it
 */
#ifndef IMAGE_FOLDER_INDEX_H
#define IMAGE_FOLDER_INDEX_H

#include <sys/stat.h>

#include "lib/base/base.h"

/* From this many entries on an index is kept; smaller trees are read as fast. */
#define FOLDER_INDEX_FROM 4096

struct folder_index {
	char *path, *root;          /* of the index; real path of the tree. NULL: nothing is kept */
	uint8_t *old;               /* the file as it was read, its listings... */
	size_t *listings;           /* ...begin here, in order of their folders */
	int listing_count;
	uint8_t *new;               /* the file to be */
	size_t used, room, begun;
	int entries;
	bool changed;
};

/* Never fails: without a readable index it is empty. */
void folder_index_open(struct folder_index *x, const char *root);
/* Writes it when something changed and keep is true; frees it. */
void folder_index_close(struct folder_index *x, bool keep);
/* What changes with a folder's entries; 0 when it cannot be relied on. */
uint64_t folder_index_stamp(const struct stat *st);

/* Appends the known listing of a folder; false when there is none with this stamp. */
bool folder_index_find(struct folder_index *x, const char *folder, uint64_t stamp);
/* Appends a listing that has just been read. */
void folder_index_begin(struct folder_index *x, const char *folder, uint64_t stamp);
void folder_index_entry(struct folder_index *x, const char *name, uint32_t size);
void folder_index_end(struct folder_index *x);
/* The entry at *at, a place between folder_index_entries() and the end of the listing; NULL at the end. The name is valid until
 * the next listing is appended. */
const char *folder_index_next(struct folder_index *x, size_t *at, size_t end, uint32_t *size);
/* Where the entries begin of the listing that begins at listing. */
size_t folder_index_entries(const struct folder_index *x, size_t listing);

#endif
