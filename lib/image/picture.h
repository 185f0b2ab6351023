/*
 * picture.h - encoded bytes to pixels: 8-bit RGB as Pillow's open(...).convert("RGB") gives them
 *
 * A picture holds a part of a decoded image, rows of R, G, B bytes without padding. Its memory grows when needed and is kept
 * from image to image, and so does the decoder: use one of each a thread. What a file is, is told by its first bytes, never by
 * its name. EXIF orientation is ignored, as PyTorch's loaders do, unless asked for; alpha is dropped; CMYK is taken as inverted, as Adobe
 * writes it.
 *
 *	struct decoder *d = decoder_new();
 *	struct picture p = PICTURE_INIT;
 *	struct blob b = { BLOB_FILE, bytes, size };
 *	int w, h;
 *
 *	if (decoder_open(d, &b, &w, &h) < 0)            only the header is read
 *		return -1;
 *	if (decoder_read(d, (struct box){ 10, 20, 224, 224 }, &p) < 0)
 *		return -1;
 *	const uint8_t *rgb = picture_at(&p, 10, 20);    rows are p.w * 3 bytes apart
 *	picture_release(&p);
 *	decoder_free(d);
 *
 * An image fails when it is larger than PICTURE_PIXELS, has more than 500 scans (fewer when it is large), or ends before all its rows are there;
 * damage that Pillow survives is survived, with the same pixels.
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
	enum { BLOB_FILE, BLOB_GREY, BLOB_PLANES } kind;   /* a JPEG, PNG or WebP; (h, w) grey; (3, h, w) red, green, blue */
	const uint8_t *data;
	size_t size;
	int w, h;                                          /* of grey and planes */
};

struct decoder;
struct decoder *decoder_new(void);
void decoder_free(struct decoder *d);
/* Whether files from now on are turned as their EXIF orientation says (exif.h). */
void decoder_set_upright(struct decoder *d, bool upright);
/* From now on JPEGs are decoded by a cheaper transform without smooth chroma, and at 1/2, 1/4 or 1/8 of their size where the
 * short side keeps least pixels; decoder_open() then gives the smaller size. 0: exactly, as is the rule. */
void decoder_set_fast(struct decoder *d, int least);
/* Reads the header; the blob must stay alive until the pixels are read. 0, or -1 after fail() with the cause alone: the
 * caller names the file. */
int decoder_open(struct decoder *d, const struct blob *b, int *w, int *h);
/* Reads at least the window into p, with exactly the pixels that the window of the whole image has. Once an open. */
int decoder_read(struct decoder *d, struct box window, struct picture *p);

/* How files of the open blob's format end: jpg, png, webp. */
const char *decoder_extension(const struct decoder *d);

/* Encodes (h, w, 3) pixels into memory that the caller frees; JPEG with 4:2:0 and a quality of 1 to 100. */
int png_encode(const uint8_t *rgb, int w, int h, void **data, size_t *size);
int jpeg_encode(const uint8_t *rgb, int w, int h, int quality, void **data, size_t *size);
/* Writes (h, w, 3) pixels as a PNG, whole or not at all. */
int png_write(const char *path, const uint8_t *rgb, int w, int h);

#endif
