/*
 * chosen.h - some samples of one split or both, put together
 *
 * Of more samples than are wanted a random choice by the seed, which no number of threads changes; in the order of features.h,
 * training samples first.
 *
 *	struct chosen c;
 *	if (chosen_make(&c, f, "test", 10000, 0) < 0)
 *		return -1;
 *	float *x = chosen_rows(&c);                    (c.count, f->dim)
 *	chosen_name(&c, 7, name, sizeof(name));
 *	chosen_release(&c);
 */
#ifndef PROBE_CHOSEN_H
#define PROBE_CHOSEN_H

#include "lib/probe/features.h"

struct chosen {
	const struct features *of;
	int64_t count;
	struct chosen_at {
		int32_t split;
		int64_t row;
	} *at;                         /* (count) */
};

/* Refuses, with EXIT_USAGE, a word that is neither train, test nor all; probe is for the message. */
int chosen_check(const char *split, const char *probe);
/* most 0: all. Fails with EXIT_USAGE where there are fewer than least. */
int chosen_make(struct chosen *c, const struct features *f, const char *split, int64_t most, int64_t seed, int64_t least);
void chosen_release(struct chosen *c);
/* Copied; the caller frees them. */
float *chosen_rows(const struct chosen *c);
int32_t chosen_label(const struct chosen *c, int64_t i);
/* The sample's name on one line without tabs, or its number where names are unknown; into dst (returned). */
const char *chosen_name(const struct chosen *c, int64_t i, char *dst, size_t size);

#endif
