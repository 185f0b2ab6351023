/*
 * webdataset.h - the class of a sample as a WebDataset says it, in a member beside the picture or elsewhere in the tar
 *
 * NAME.cls holds it as text, a number as a rule; NAME.json as member "cls", "label" or "class" of an object, a number or a text;
 * NAME.txt as its only line, of at most 64 bytes, and only where no folder is a class, since longer texts are captions. Of
 * several the first in this order is believed.
 *
 *	char class[WEBDATASET_CLASS];
 *	int rank = webdataset_rank("shard/000012.json");          0: such a member says nothing
 *	if (rank && webdataset_class(rank, text, size, class))
 *		webdataset_add(&w, name, dataset_text(d, class), rank);
 *	...
 *	int lonely = webdataset_join(&w, d, first);               when all samples of the tar, from first on, are in the data set
 *	webdataset_release(&w);
 */
#ifndef IMAGE_WEBDATASET_H
#define IMAGE_WEBDATASET_H

#include "lib/image/dataset.h"

#define WEBDATASET_CLASS 256

/* Bytes of a member's key, which samples and what belongs to them share: its path up to the first dot of the file's name. */
size_t webdataset_key(const char *name);
/* How much a member of this name is believed, from its extension; 0: it says no class, WEBDATASET_TEXT: it is .txt. */
enum { WEBDATASET_TEXT = 1 };
int webdataset_rank(const char *name);
/* Reads the class from a member's text, which ends in a NUL behind its size; false: it holds none. */
bool webdataset_class(int rank, char *text, size_t size, char class[WEBDATASET_CLASS]);

/* What members said, when all pictures stand in front of all classes, or the other way round; to begin with all zeros. */
struct webdataset {
	struct said {
		uint64_t key;        /* hash */
		uint32_t class;      /* text of the data set */
		int rank, order;     /* how much it is believed */
		bool met;
	} *said;
	int count, room;
};

void webdataset_add(struct webdataset *a, const char *name, uint32_t class, int rank);
/* Gives each sample the most believed class of its key. Returns how many keys have a class but no picture; a lone .txt may be
 * about anything, and does not count. */
int webdataset_join(struct webdataset *a, struct dataset *d, int first);
void webdataset_release(struct webdataset *a);

#endif
