/*
 * decoder.h - encoded bytes to pixels: 8-bit RGB as Pillow's open(...).convert("RGB") gives them
 *
 * A decoder's memory is kept from image to image: use one a thread. What a file is, is told by its first bytes, never by its
 * name. EXIF orientation is ignored, as PyTorch's loaders do, unless asked for; alpha is dropped; a JPEG's CMYK is taken as
 * inverted, as Adobe writes it. HEIC, AVIF and TIFF, whose libraries are opened when the first such file comes (late.h), are as
 * libheif's and libtiff's own functions for RGB give them; how they are turned is part of them and always done.
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
 * An image fails when it is larger than PICTURE_PIXELS, has more than 500 scans (fewer when it is large), or ends before all its
 * rows are there; damage that Pillow survives is survived, with the same pixels.
 */
#ifndef IMAGE_DECODER_H
#define IMAGE_DECODER_H

#include "lib/image/picture.h"

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

/* How files of the open blob's format end: jpg, png, webp, heic, avif, tif. */
const char *decoder_extension(const struct decoder *d);
/* Says which formats can be read here, and what has to be installed for those that cannot. */
void decoder_note_formats(void);

#endif
