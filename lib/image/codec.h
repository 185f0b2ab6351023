/*
 * codec.h - the file formats: what decoder.c needs of each, one row of its table; and how pictures are written
 *
 * To add a format: write its file with one exported struct codec, add it to codecs[] in decoder.c and its extensions to kinds.c.
 */
#ifndef IMAGE_CODEC_H
#define IMAGE_CODEC_H

#include "lib/base/options.h"
#include "lib/image/picture.h"

struct late;

/* size bytes that stand at an offset in files of the format */
struct magic {
	uint8_t at, size;
	const char *bytes;
};

struct codec {
	struct entry entry;
	struct magic magics[4]; /* one of which every such file has; the last ones may be empty */
	const char *extension;  /* that its files should have */
	void *(*create)(void);  /* the state of one thread */
	void (*destroy)(void *state);
	/* Reads the header of data, which stays alive until read() or the next open(). */
	int (*open)(void *state, const uint8_t *data, size_t size, int *w, int *h);
	/* From now on files may be decoded coarsely and smaller (decoder_set_fast); NULL: this format has no way to. */
	void (*hurry)(void *state, int least);
	/* Fills p with at least the window, which lies inside the image. */
	int (*read)(void *state, struct box window, struct picture *p);
	/* Which way up the open file is (exif.h), where its format itself says so; NULL: EXIF's matter. */
	int (*orientation)(const void *state);
	struct late *library;   /* that has to be open before open() (late.h); NULL: it is linked */
};

extern const struct codec codec_jpeg, codec_png, codec_webp, codec_heic, codec_avif, codec_tiff;

/* Encodes (h, w, 3) pixels into memory that the caller frees; JPEG with 4:2:0 and a quality of 1 to 100. */
int png_encode(const uint8_t *rgb, int w, int h, void **data, size_t *size);
int jpeg_encode(const uint8_t *rgb, int w, int h, int quality, void **data, size_t *size);

#endif
