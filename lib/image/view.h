/*
 * view.h - one view from one picture: crop, resize, jitter, grey, blur, solarise, flip, hiding, as drawn
 *
 *	struct studio s = STUDIO_INIT;                 scratch memory, one a thread
 *	view_apply(&s, &picture, &draw, out);          out: u8 (size, size, 3)
 *	studio_release(&s);
 */
#ifndef IMAGE_VIEW_H
#define IMAGE_VIEW_H

#include "lib/image/blur.h"
#include "lib/image/profile.h"
#include "lib/image/recipe.h"
#include "lib/image/resample.h"

struct studio {
	struct resampler resampler;
	struct planes view;
	struct blur blur;
	struct profile profile;
};
#define STUDIO_INIT { .view = PLANES_INIT }
void studio_release(struct studio *s);

/* The picture must hold the whole crop of the draw. */
void view_apply(struct studio *s, const struct picture *p, const struct draw *d, uint8_t *out);

#endif
