/*
 * cover.h - what is hidden of a view, once all else is done: its pixels become the mean of the channels
 *
 * Networks see views as (x - mean) / std, so this is what the papers' zeros are there, to the nearest byte (recipe_fill()).
 *
 *	cover_apply(&draw, out);                       out: u8 (size, size, 3), flipped already
 */
#ifndef IMAGE_COVER_H
#define IMAGE_COVER_H

#include "lib/image/recipe.h"

/* Cell (x, y) of a grid of n x n has the columns floor(x size / n) up to floor((x + 1) size / n), rows likewise. What
 * both views of a pair show is a box. */
void cover_apply(const struct draw *d, uint8_t *rgb);

#endif
