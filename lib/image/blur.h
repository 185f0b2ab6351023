/*
 * blur.h - Pillow's GaussianBlur(sigma): three extended box filters an axis (Gwosdek et al. 2011), rounded after each
 *
 * A box filter of real radius is a box of whole radius plus a fraction of the two pixels beside it; edges are repeated. Cost
 * does not depend on sigma. Columns first, then rows, as in Pillow 9.4 (BoxBlur.c), byte for byte.
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
	uint8_t *turned, *other; /* one plane each */
	uint32_t *sums;
	size_t room, sums_room;
};
#define BLUR_INIT { NULL, NULL, NULL, 0, 0 }
void blur_release(struct blur *b);

void blur(struct blur *b, struct planes *p, float sigma);

#endif
