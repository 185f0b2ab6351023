/*
 * canvas.h - sheets to look at: white, with pictures, letters and marks on them, written as PNG
 *
 *	struct canvas c;
 *	canvas_init(&c, 640, 480);
 *	canvas_disc(&c, 20, 30, 2, 0x1f77b4);
 *	canvas_text(&c, 40, 26, 1, "airplane");
 *	r = canvas_write(&c, "sheet.png");
 *	canvas_release(&c);
 *
 * Colours are 0xRRGGBB; x goes right, y down, both from 0, in pixels.
 */
#ifndef BASE_CANVAS_H
#define BASE_CANVAS_H

#include "lib/base/base.h"

enum { CANVAS_TEXT_W = 6, CANVAS_TEXT_H = 9 }; /* the cell that a letter of 5 x 7 stands in, at scale 1 */

struct canvas {
	int w, h;
	uint8_t *rgb;                  /* (h, w, 3) */
};

void canvas_init(struct canvas *c, int w, int h);
void canvas_release(struct canvas *c);

/* A line of small capitals, black, from its top left corner. What there is no letter for is '?'; what would not fit is cut. */
void canvas_text(struct canvas *c, int x, int y, int scale, const char *text);
/* What lies outside the canvas is cut off. */
void canvas_box(struct canvas *c, int x, int y, int w, int h, uint32_t colour);
void canvas_disc(struct canvas *c, int x, int y, int radius, uint32_t colour);
/* (h, w, 3) pixels, each as often as scale says; must fit. */
void canvas_put(struct canvas *c, int x, int y, const uint8_t *rgb, int w, int h, int scale);

/* The file appears whole or not at all. 0, or -1 after fail(). */
int canvas_write(const struct canvas *c, const char *path);

#endif
