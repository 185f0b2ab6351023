/*
 * pack.h - a data set written as WebDataset shards, its pictures made smaller once so that training need not do it each time
 *
 * Sample i of the sorted data set goes into shard i / o.shard, as KEY.jpg (or .png, ...) and KEY.cls, the number of its class.
 * KEY is the sample's name without its extension, dots in the file's name made '_', since a WebDataset's key ends at the first
 * dot. A picture whose short side is longer than o.short_side is resized to it (bicubic, antialiased) and written as JPEG of
 * quality 90, 4:2:0; others are kept as they are; raw pixels become PNG. Unreadable pictures are left out, counted and named.
 *
 * A shard appears whole or not at all and says in its first header what it was made from, so that a pack that was killed goes on
 * where it was, with the same bytes in the end, and one of other data is refused.
 *
 *	struct pack_options o = { .pattern = "small-%06d.tar", .short_side = 256, .shard = 10000, .max_bad = 0.01 };
 *	if (pack_write(d, &o) < 0)
 *		return -1;
 */
#ifndef IMAGE_PACK_H
#define IMAGE_PACK_H

#include "lib/image/dataset.h"

struct pack_options {
	const char *pattern;    /* of the shards' names, with %d or %06d for the number */
	int64_t short_side;     /* 0: pictures are kept as they are */
	int64_t shard;          /* samples a shard */
	bool exif;              /* turn pictures; those that are turned are written anew */
	double max_bad;         /* share of the samples that may be unreadable: dataset_bad_most() */
};

/* Writes all shards on all threads and notes what was saved. 0, or -1 after fail(). */
int pack_write(const struct dataset *d, const struct pack_options *o);

#endif
