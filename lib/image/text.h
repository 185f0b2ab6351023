/*
 * text.h - a line of small capitals drawn into a picture
 *
 * Letters are 5 x 7 pixels in cells of TEXT_W x TEXT_H. Small letters are drawn as capitals; what there is no letter for is '?'.
 *
 *	text_draw(rgb, w, h, 10, 20, "blur 1.25");        (10, 20): top left corner of the first letter; black on what is there
 */
#ifndef IMAGE_TEXT_H
#define IMAGE_TEXT_H

#include "lib/base/base.h"

enum { TEXT_W = 6, TEXT_H = 9 };

/* rgb: (h, w, 3). What would not fit is cut off. */
void text_draw(uint8_t *rgb, int w, int h, int x, int y, const char *text);

#endif
