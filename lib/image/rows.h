/*
 * rows.h - one row of a batch: the sample that stands there, and all its views from one picture
 *
 * A sample that cannot be decoded is noted and counted once; in training another one stands in (facts_pick()), in evaluation its
 * row is left out. When too many are bad (dataset_bad_most()), making fails.
 *
 *	struct rows r;
 *	rows_init(&r, &facts, dataset, served, 0.01);              facts, data set and served stay the caller's
 *	int sample = rows_make(&r, &worker, epoch, position, out);   for several threads at once, each with its own worker
 *	rows_release(&r);
 */
#ifndef IMAGE_ROWS_H
#define IMAGE_ROWS_H

#include <stdatomic.h>

#include "lib/image/cache.h"
#include "lib/image/facts.h"
#include "lib/image/worker.h"

struct rows {
	const struct facts *facts;
	const struct dataset *d;
	const int *served;                  /* numbers of the samples of the split */
	struct cache *cache;                /* NULL: not used */
	double max_bad;
	atomic_uchar *bad;                  /* by sample */
	atomic_int bad_count;
	atomic_llong bounded, missed;       /* pairs that have the IoU asked for; those that came closest to it */
};

/* max_bad: share of the samples that may be unreadable. */
void rows_init(struct rows *r, const struct facts *f, const struct dataset *d, const int *served, double max_bad);
void rows_release(struct rows *r);
/* Keeps decoded pictures in at most so many bytes, when they will probably fit and are not in memory anyway. */
void rows_cache(struct rows *r, struct worker *w, int64_t budget);
/* Pixels that the short side of a picture must have so that no view, by and large, is made of fewer than it holds. */
int rows_least_side(const struct rows *r);

/* The sample at a position of an epoch, or one that stands in for it. */
int rows_sample(const struct rows *r, uint32_t epoch, uint32_t position, int attempt);
/* Makes the row at a position: its views into out, NULL for those nobody asked for. Returns the sample's number, -1 when it is
 * left out, -2 after fail(). */
int rows_make(struct rows *r, struct worker *w, uint32_t epoch, uint32_t position, uint8_t *const *out);
/* What is drawn for the views of a sample in an epoch: for its own (member -1), it being of width x height, or for those of a
 * member of its bag, which is. */
void rows_draw(const struct rows *r, int sample, uint32_t epoch, int member, int width, int height, struct draw *draws);
/* The member of a sample's bag in an epoch, as far as is known of those that are unreadable. */
int rows_member(const struct rows *r, int sample, uint32_t epoch);

/* What share of the pixels of a sample's mixed view is its first view's. */
float rows_share(const struct rows *r, int sample, uint32_t epoch);

#endif
