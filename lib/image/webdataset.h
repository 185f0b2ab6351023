/*
 * webdataset.h - the class of a sample as a WebDataset says it, in a member beside the picture
 *
 * NAME.cls holds it as text, a number as a rule; NAME.json as member "cls", "label" or "class" of an object, a number or a text;
 * NAME.txt as its only line, of at most 64 bytes, and only where no folder is a class, since longer texts are captions. Of
 * several the first in this order is believed.
 *
 *	char class[WEBDATASET_CLASS];
 *	int rank = webdataset_rank("shard/000012.json");          0: such a member says nothing
 *	if (rank && webdataset_class(rank, text, size, class))
 *		...
 */
#ifndef IMAGE_WEBDATASET_H
#define IMAGE_WEBDATASET_H

#include "lib/base/base.h"

#define WEBDATASET_CLASS 256

/* Bytes of a member's key, which samples and what belongs to them share: its path up to the first dot of the file's name. */
size_t webdataset_key(const char *name);
/* How much a member of this name is believed, from its extension; 0: it says no class, WEBDATASET_TEXT: it is .txt. */
enum { WEBDATASET_TEXT = 1 };
int webdataset_rank(const char *name);
/* Reads the class from a member's text, which ends in a NUL behind its size; false: it holds none. */
bool webdataset_class(int rank, char *text, size_t size, char class[WEBDATASET_CLASS]);

#endif
