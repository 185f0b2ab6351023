/*
 * facts.h - what is fixed for a whole run: how long it is, which sample stands where in which step, what can be asked for
 *
 * Training: step s is batch s % n of epoch s / n, where an epoch has n = floor(N / B) whole batches; an epoch's order is a
 * permutation keyed by (seed, epoch). Evaluation: sample i stands at position i, n = ceil(N / B), the last batch is short.
 *
 *	struct facts f;
 *	int *served = facts_fill(&f, &options, dataset);          50000 images, batches of 256: 195 steps an epoch
 *	struct span s = facts_span(&f, 200, 0, 1);                epoch 1, positions [1280, 1536)
 *	int sample = served[facts_pick(&f, s.epoch, s.begin, 0)]; first sample of the step
 */
#ifndef IMAGE_FACTS_H
#define IMAGE_FACTS_H

#include "lib/image/bags.h"
#include "lib/image/crops.h"
#include "lib/image/dataset.h"
#include "lib/tensor/tensor.h"

#define MAKER_VIEWS 16
struct maker_options {
	struct choice recipe;
	int64_t size;             /* pixels a side; 0: the recipe's own */
	int64_t views;            /* of that size; 0: two, in evaluation one */
	const char *bags;         /* a file: the last half of the views of that size is of members of bags; "": none is */
	const char *mix;          /* "A+B": one view more, view A with a box of view B; "": none */
	const char *crops;        /* more views: crops.h; "": none */
	int64_t batch, epochs, seed;
	bool eval, exif, fast;    /* exif: turn pictures as their EXIF says; fast: decode coarsely (decoder.h) */
	const char *split;        /* train, test or all; "": train in training, all in evaluation */
	const char *mean, *std;   /* "r,g,b"; "": the recipe's own */
	double max_bad;           /* share of the samples that may be unreadable: dataset_bad_most() */
	int64_t cache;            /* bytes for decoded pictures; 0: none */
};
#define MAKER_OPTIONS_INIT                                                                                                 \
	{ .bags = "", .mix = "", .crops = "", .batch = 256, .epochs = 200, .split = "", .mean = "", .std = "", .max_bad = 0.01, \
	  .cache = 1 << 30 }

/* What is fixed for a whole run; wire.5, RUN FACTS. */
struct facts {
	char data[40], holdout[40], labels[40], split[16], recipe[256], crops[256], mix[16], bags[40], mean[64], std[64];
	int64_t samples, size, views, batch, steps_per_epoch, epochs, steps, seed;
	bool eval, exif, fast;
	/* no facts of the wire, but what is offered: */
	struct view_spec view[MAKER_VIEWS];   /* of full size, the mixed one, crops */
	int mixed;                /* which view is; -1: none */
	int from, full;           /* views from .. full - 1 are of members of bags; full: how many are of full size */
	struct bags members;      /* the maker's to release */
	size_t name_max;          /* bytes of the longest name */
};

/* Options checked against the data set, defaults filled in from the recipe. The numbers of the samples that are served, for the
 * caller to free; NULL after fail(), with EXIT_USAGE where the options are to blame. */
int *facts_fill(struct facts *f, const struct maker_options *o, const struct dataset *d);

struct span {
	uint32_t epoch;
	uint32_t begin, end;      /* positions in the epoch */
};
/* Positions of one part of a step: rows floor(part * B / parts) up to floor((part + 1) * B / parts). */
struct span facts_span(const struct facts *f, int64_t step, int part, int parts);
/* Which of the samples served stands at a position of an epoch; attempt > 0: the stand-in that is taken when the ones before are
 * unreadable. */
uint32_t facts_pick(const struct facts *f, uint32_t epoch, uint32_t position, int attempt);

/* Whether a view is of a member of a bag. */
static inline bool facts_of_member(const struct facts *f, int view)
{
	return view >= f->from && view < f->full;
}

/* Name, type and shape of the i-th thing that can be asked for, without data; false behind the last. */
bool facts_offer(const struct facts *f, int i, struct tensor *spec);
/* Number of an offer by name, its spec in *spec; -1 after fail() that says which option would make it. */
int facts_offer_find(const struct facts *f, const char *name, struct tensor *spec);

#endif
