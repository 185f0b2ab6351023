/*
 * codec.h - what picture.c needs of a file format; one row of its table each
 *
 * To add a format: write its file with one exported struct codec, add it to codecs[] in picture.c.
 */
#ifndef IMAGE_CODEC_H
#define IMAGE_CODEC_H

#include "lib/base/options.h"
#include "lib/image/picture.h"

struct codec {
	struct entry entry;
	const char *magic;      /* first bytes of every such file */
	size_t magic_size;
	const char *extension;  /* that its files should have */
	void *(*create)(void);  /* the state of one thread */
	void (*destroy)(void *state);
	/* Reads the header of data, which stays alive until read() or the next open(). */
	int (*open)(void *state, const uint8_t *data, size_t size, int *w, int *h);
	/* From now on files may be decoded coarsely and smaller (decoder_set_fast); NULL: this format has no way to. */
	void (*hurry)(void *state, int least);
	/* Fills p with at least the window, which lies inside the image. */
	int (*read)(void *state, struct box window, struct picture *p);
};

extern const struct codec codec_jpeg, codec_png, codec_webp;

/* 0, or -1 after fail(), for the width and height that a header declares. */
int codec_check_size(int64_t w, int64_t h);

#endif
