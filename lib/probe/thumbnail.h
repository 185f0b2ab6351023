/*
 * thumbnail.h - small pictures: means over squares of pixels, the shorter remainder at the right and below cut off
 *
 *	int factor = thumbnail_factor(224, 224);                       4
 *	thumbnail_make(rgb, 224, 224, factor, small);                  (56, 56, 3)
 */
#ifndef PROBE_THUMBNAIL_H
#define PROBE_THUMBNAIL_H

#include "lib/base/base.h"

enum { THUMBNAIL_SIDE = 64 };          /* pixels, at most */

int thumbnail_factor(int64_t h, int64_t w);
/* rgb (h, w, 3); to (h / factor, w / factor, 3). */
void thumbnail_make(const uint8_t *rgb, int64_t h, int64_t w, int factor, uint8_t *to);

#endif
