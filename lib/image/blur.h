/*
 * blur.h - Pillow's GaussianBlur(sigma): three extended box filters an axis (Gwosdek et al. 2011), rounded after each
 *
 * A box filter of real radius is a box of whole radius plus a fraction of the two pixels beside it; edges are repeated. Along
 * the rows first, then down the columns, as in Pillow 9.4 (BoxBlur.c), byte for byte. Cost grows with sigma, in steps: it is
 * the same up to 1.4, and nearly so up to 2.4.
 *
 *	struct blur scratch = BLUR_INIT;
 *	blur(&scratch, &view, 1.3f);
 *	blur_release(&scratch);
 */
#ifndef IMAGE_BLUR_H
#define IMAGE_BLUR_H

#include "lib/image/planes.h"

/* Scratch memory, kept from call to call; one a thread. */
struct blur {
	struct planes other;
	uint8_t *line;           /* two rows with repeated edges */
	const uint8_t **rows;    /* those around one row */
	size_t line_room, row_room;
};
#define BLUR_INIT { .line = NULL }
void blur_release(struct blur *b);

void blur(struct blur *b, struct planes *p, float sigma);

#endif
