/*
 * planes.h - a small RGB image as three planes, the form in which views are worked on
 *
 * Views are small (32 to 224 pixels a side) and every operation on them is a loop over one or three runs of bytes, in vectors
 * (pixels.h). Only the way in (resample.h) and the way out see interleaved pixels. Behind each plane are PLANE_SLACK bytes or
 * more that vectors may spill into.
 *
 *	struct planes p = PLANES_INIT;
 *	planes_shape(&p, 224, 224);
 *	uint8_t *green = p.at[1];                      (h, w)
 *	planes_release(&p);
 */
#ifndef IMAGE_PLANES_H
#define IMAGE_PLANES_H

#include "lib/base/base.h"

enum { PLANE_SLACK = 64 };

struct planes {
	int w, h;
	uint8_t *at[3];         /* one block, planes_pitch() apart */
	size_t room;
};
#define PLANES_INIT { 0, 0, { NULL, NULL, NULL }, 0 }

/* Bytes from plane to plane. */
static inline size_t planes_pitch(const struct planes *p)
{
	return ((size_t)p->w * p->h + 2 * PLANE_SLACK - 1) / PLANE_SLACK * PLANE_SLACK;
}
/* Makes room for (3, h, w); the pixels are not set. */
void planes_shape(struct planes *p, int w, int h);
void planes_release(struct planes *p);
/* Writes (h, w, 3), mirrored left to right if asked. */
void planes_interleave(const struct planes *p, bool mirror, uint8_t *rgb);

#endif
