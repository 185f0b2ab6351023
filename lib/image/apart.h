/*
 * apart.h - classes that stand in a tar apart from their pictures: all pictures first, then all classes, or the other way round
 *
 *	struct apart a = { 0 };
 *	apart_add(&a, "train/000012.cls", class, rank);       for every member that says a class
 *	int lonely = apart_join(&a, d, first);                when all of the tar's samples, from first on, are in the data set
 *	apart_release(&a);
 */
#ifndef IMAGE_APART_H
#define IMAGE_APART_H

#include "lib/image/dataset.h"

struct apart {
	struct said {
		uint64_t key;        /* hash */
		uint32_t class;      /* text of the data set */
		int rank, order;     /* how much it is believed: webdataset.h */
		bool met;
	} *said;
	int count, room;
};

void apart_add(struct apart *a, const char *name, uint32_t class, int rank);
/* Gives each sample the most believed class of its key. Returns how many keys have a class but no picture; a lone .txt may be
 * about anything, and does not count. */
int apart_join(struct apart *a, struct dataset *d, int first);
void apart_release(struct apart *a);

#endif
