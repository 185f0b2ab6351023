/*
 * cache.h - decoded pictures kept in memory, for data sets that are small enough
 *
 * Any number of threads may look up and add at once. What is kept never changes and stays until cache_free().
 *
 *	struct cache *c = cache_new(d->count, 1 << 30);
 *	if (!cache_find(c, i, &picture)) {                picture then borrows from the cache
 *		... decode the whole picture ...
 *		cache_add(c, i, &picture);                copies it, if the budget allows
 *	}
 */
#ifndef IMAGE_CACHE_H
#define IMAGE_CACHE_H

#include "lib/image/picture.h"

struct cache;
/* Room for count pictures in at most budget bytes. */
struct cache *cache_new(int count, int64_t budget);
void cache_free(struct cache *c);
/* Sets *p to whole picture i, borrowed: do not release it. */
bool cache_find(struct cache *c, int i, struct picture *p);
void cache_add(struct cache *c, int i, const struct picture *p);

#endif
