/*
 * crops.h - --crops NxSIZE[:key=value,...]: more views of a picture, of another size and by a law of their own
 *
 * Multi-crop (SwAV, Caron et al. 2020; DINO, Caron et al. 2021): beside the views of full size come N small ones of small parts.
 * Their law is the recipe's with the given keys changed; their share of the area is SwAV's, 0.05 to 0.14, unless given. Where a
 * recipe's odd views differ, all crops are as its even ones: which of them stands at an odd place has no meaning.
 *
 *	struct crops c;
 *	if (crops_parse(&c, "6x96:blur=.5", &recipe) < 0)            "": none
 *		return -1;
 *	for (int i = 0; i < c.count; i++)
 *		views[2 + i] = c.spec;
 */
#ifndef IMAGE_CROPS_H
#define IMAGE_CROPS_H

#include "lib/image/recipe.h"

#define VIEW_SIZE_MOST 4096

struct crops {
	int64_t count;
	struct view_spec spec;
	char spelling[256];       /* with every key: equal crops are spelled alike; "": none */
};

/* 0, or -1 after fail() with EXIT_USAGE: the text is wrong, or there is nothing random in the recipe. */
int crops_parse(struct crops *c, const char *text, const struct choice *recipe);

#endif
