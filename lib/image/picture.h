/*
 * picture.h - an image or a part of one: rows of R, G, B bytes without padding; and the bytes it is decoded from
 *
 * A picture's memory grows when needed and is kept from image to image: use one a thread.
 *
 *	struct picture p = PICTURE_INIT;
 *	picture_shape(&p, (struct box){ 10, 20, 224, 224 });
 *	uint8_t *first = p.rgb;                         pixel (10, 20) of the whole image
 *	picture_release(&p);
 */
#ifndef IMAGE_PICTURE_H
#define IMAGE_PICTURE_H

#include "lib/base/base.h"

/* 64 million pixels; what is larger is taken for a decompression bomb. */
#define PICTURE_PIXELS (64 << 20)

struct box {
	int x, y, w, h;
};
/* The smallest box around both; a box without area counts for nothing. */
struct box box_union(struct box a, struct box b);

/* 0, or -1 after fail(), for the width and height that an image claims to have. */
int picture_check_size(int64_t w, int64_t h);

/* The part (x, y, w, h) of an image. */
struct picture {
	int x, y, w, h;
	uint8_t *rgb;   /* (h, w, 3) */
	size_t room;
};
#define PICTURE_INIT { 0, 0, 0, 0, NULL, 0 }
/* Makes room for the part; the pixels are not set. */
void picture_shape(struct picture *p, struct box part);
void picture_release(struct picture *p);
/* Pixel (x, y) of the whole image, which must lie in the part that is held. */
static inline const uint8_t *picture_at(const struct picture *p, int x, int y)
{
	return p->rgb + ((size_t)(y - p->y) * p->w + (x - p->x)) * 3;
}

/* The bytes of a sample as a data set holds them. */
struct blob {
	enum { BLOB_FILE, BLOB_GREY, BLOB_PLANES } kind;   /* a picture's file; (h, w) grey; (3, h, w) red, green, blue */
	const uint8_t *data;
	size_t size;
	int w, h;                                          /* of grey and planes */
};

#endif
