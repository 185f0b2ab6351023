/*
 * bags.h - --bags FILE: of each image those that are like it, as 'probe bags' found them (BINGO, Xu et al. 2022)
 *
 * The file names samples of one data set by their numbers; of another set, of other held-out samples or with numbers that cannot
 * be, it is refused.
 *
 *	struct bags b = { 0 };
 *	if (bags_open(&b, "bags.safetensors", dataset) < 0)
 *		return -1;
 *	int sample = bags_member(&b, 7, seed, epoch, 0);    a random member of the bag of sample 7
 *	bags_release(&b);
 */
#ifndef IMAGE_BAGS_H
#define IMAGE_BAGS_H

#include "lib/image/dataset.h"

struct bags {
	int32_t *member;          /* (samples, k): numbers of samples; -1 behind the last one */
	int k;                    /* 0: there are no bags */
	char fingerprint[40];     /* "k:hash" of the numbers */
};

/* 0, or -1 after fail(). */
int bags_open(struct bags *b, const char *path, const struct dataset *d);
void bags_release(struct bags *b);
/* The member that is drawn for a sample in an epoch; attempt > 0: the one that is taken when those before are unreadable; the
 * sample itself behind the last, or where its bag is empty. */
int bags_member(const struct bags *b, int sample, uint64_t seed, uint32_t epoch, int attempt);

#endif
