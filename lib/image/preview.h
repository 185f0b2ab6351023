/*
 * preview.h - a sheet of pictures beside their views, to look at before a run
 *
 *	if (preview_write(maker, "sheet.png", 32) < 0)
 *		return -1;
 */
#ifndef IMAGE_PREVIEW_H
#define IMAGE_PREVIEW_H

#include "lib/image/maker.h"

/* Writes the first samples of the first epoch: each one's original over its name, size and class, then its views, each over what
 * was drawn for it: width x height + left + top of the crop, the factors of the jitter in their order, grey, solarise, flip, the
 * blur's sigma. Views stand beside each other in their own size, small ones enlarged. The maker's batch must be 1, so that any
 * number of images will do. */
int preview_write(struct maker *m, const char *path, int samples);

#endif
