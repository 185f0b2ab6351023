/* maker_internal.h - what maker.c, facts.c and offers.c share */
#ifndef IMAGE_MAKER_INTERNAL_H
#define IMAGE_MAKER_INTERNAL_H

#include <stdatomic.h>

#include "lib/image/cache.h"
#include "lib/image/maker.h"
#include "lib/image/sampler.h"
#include "lib/image/worker.h"

enum { POOL_BUFFERS = 4, OFFERS = MAKER_VIEWS + 4 };

/* Buffers of one kind of tensor, used again when nobody holds them any more. */
struct pool {
	struct buffer *held[POOL_BUFFERS];
};

struct maker {
	struct facts facts;
	double max_bad;
	struct dataset *d;
	int *served, served_count;          /* numbers of the samples of the split */
	enum frame frames[MAKER_VIEWS];
	struct law laws[MAKER_VIEWS];
	struct worker *workers;
	int worker_count;
	struct cache *cache;                /* NULL: not used */
	atomic_uchar *bad;                  /* by sample */
	atomic_int bad_count;
	struct pool pools[OFFERS];
	int64_t last_step;                  /* that was asked for */
	int cold_steps;                     /* for so many more the disk is told what comes next */
	int *rows;                          /* sample of each row being made; -1: left out */
};

/* Fills m->facts and m->served from the options and m->d. */
int facts_fill(struct maker *m, const struct maker_options *o);
/* Number of an offer by name, its spec in *spec; -1 after fail() that says which option would make it. */
int offer_find(const struct maker *m, const char *name, struct tensor *spec);

#endif
