/*
 * tar_write.h - a tar written member by member: ustar, and pax where a name is longer than 100 bytes
 *
 * Members carry no time, owner or other trace of who wrote them: equal contents give equal bytes.
 *
 *	struct tar_out t = { .fd = fd };
 *	tar_comment(&t, "who made it");
 *	if (tar_member(&t, "cat/0001.jpg", data, size) < 0 || tar_end(&t) < 0)
 *		r = -1;
 *	tar_out_release(&t);
 */
#ifndef IMAGE_TAR_WRITE_H
#define IMAGE_TAR_WRITE_H

#include "lib/base/base.h"

struct tar_out {
	int fd;
	uint8_t *block;      /* what is not written yet */
	size_t used, room;
};

/* A comment for the whole tar (a pax global header), to be written first. */
void tar_comment(struct tar_out *t, const char *text);
int tar_member(struct tar_out *t, const char *name, const void *data, size_t size);
/* The two zero blocks, and everything out. */
int tar_end(struct tar_out *t);
void tar_out_release(struct tar_out *t);

#endif
