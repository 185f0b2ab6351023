/*
 * colour.h - pixel-wise operations, byte for byte as Pillow's ImageEnhance and torchvision's functions on PIL images
 *
 * All work in place. Brightness, contrast and saturation mix the picture x with a plainer one d: trunc(d + f * (x - d)) in
 * single precision, clipped; f = 1 leaves it alone, f = 0 gives d. Luma is L = (19595 R + 38470 G + 7471 B + 32768) >> 16.
 *
 *	colour_brightness(&view, 1.2f);
 *	colour_hue(&view, -0.05f);                     a twentieth of the circle
 */
#ifndef IMAGE_COLOUR_H
#define IMAGE_COLOUR_H

#include "lib/image/planes.h"

void colour_brightness(struct planes *p, float f);   /* d = black */
void colour_contrast(struct planes *p, float f);     /* d = the mean luma, rounded */
void colour_saturation(struct planes *p, float f);   /* d = luma of each pixel */
void colour_hue(struct planes *p, float turn);       /* -0.5 to 0.5, by way of 8-bit HSV */
void colour_grey(struct planes *p);
void colour_solarise(struct planes *p);              /* values of 128 and more are inverted */

#endif
