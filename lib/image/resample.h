/*
 * resample.h - resizing with antialiasing, byte for byte as Pillow 9.4 does it (Resample.c, 8 bits a channel)
 *
 * Per axis: the filter is stretched by the scale when shrinking, its weights are normalised and rounded to 22 bits. Columns
 * first, the result rounded to 8 bits, then rows. The box is cut out before it is resized, so pixels around it have no say.
 *
 *	struct resampler s = RESAMPLER_INIT;
 *	struct planes view = PLANES_INIT;
 *
 *	resample(&s, picture_at(&p, box.x, box.y), p.w * 3, box.w, box.h, FILTER_BILINEAR, 224, 224,
 *	         (struct box){ 0, 0, 224, 224 }, &view);
 *	resampler_release(&s);
 */
#ifndef IMAGE_RESAMPLE_H
#define IMAGE_RESAMPLE_H

#include "lib/image/picture.h"
#include "lib/image/pixels.h"
#include "lib/image/planes.h"

enum filter { FILTER_BILINEAR, FILTER_BICUBIC };

/* Scratch memory that is kept from call to call; one a thread. */
struct resampler {
	struct axis x, y;
	struct quads quads;
	struct planes middle;
	uint8_t *line[3];       /* one row of input in planes */
	size_t line_room;
};
#define RESAMPLER_INIT { .line = { NULL } }
void resampler_release(struct resampler *s);

/* Resizes the (h, w) pixels at rgb, whose rows are pitch bytes apart, to out_w x out_h and keeps the part of that. */
void resample(struct resampler *s, const uint8_t *rgb, size_t pitch, int w, int h, enum filter filter, int out_w, int out_h,
	      struct box part, struct planes *out);

#endif
