/*
 * planes.h - a small RGB image as three planes, the form in which views are worked on
 *
 * Views are small (32 to 224 pixels a side) and every operation on them is a loop over one or three runs of bytes, which
 * compilers turn into vector code. Only the way in (resample.h) and the way out see interleaved pixels.
 *
 *	struct planes p = PLANES_INIT;
 *	planes_shape(&p, 224, 224);
 *	uint8_t *green = p.at[1];                      (h, w)
 *	planes_release(&p);
 */
#ifndef IMAGE_PLANES_H
#define IMAGE_PLANES_H

#include "lib/base/base.h"

struct planes {
	int w, h;
	uint8_t *at[3];         /* one block: at[1] == at[0] + w * h */
	size_t room;
};
#define PLANES_INIT { 0, 0, { NULL, NULL, NULL }, 0 }

/* Makes room for (3, h, w); the pixels are not set. */
void planes_shape(struct planes *p, int w, int h);
void planes_release(struct planes *p);
/* Writes (h, w, 3), mirrored left to right if asked. */
void planes_interleave(const struct planes *p, bool mirror, uint8_t *rgb);

#endif
