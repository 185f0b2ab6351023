/* fuzz_picture.h - what the targets for picture formats share: header, the whole, a window, turned as EXIF says */
#ifndef FUZZ_PICTURE_H
#define FUZZ_PICTURE_H

#include "lib/image/decoder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Pictures of more pixels are only opened: reading them takes longer than a fuzzer should wait. */
enum { PIXELS_MOST = 1 << 20 };

static int read_part(struct decoder *d, const struct blob *b, bool upright, int part, struct picture *p)
{
	struct box window;
	int w, h;

	decoder_set_upright(d, upright);
	if (decoder_open(d, b, &w, &h) < 0 || (int64_t)w * h > PIXELS_MOST)
		return -1;
	window = (struct box){ w / part / 2, h / part / 2, MAX(w / part, 1), MAX(h / part, 1) };
	if (part == 1)
		window = (struct box){ 0, 0, w, h };
	if (decoder_read(d, window, p) < 0)
		return -1;
	if (p->x > window.x || p->y > window.y || p->x + p->w < window.x + window.w || p->y + p->h < window.y + window.h)
		abort();
	return 0;
}

/* The input with the first bytes that make it a file of the format, so that no time goes into finding them. */
static int decode_input(const uint8_t *data, size_t size, const char *magic, size_t n)
{
	struct decoder *d = decoder_new();
	struct picture p = PICTURE_INIT;
	uint8_t *copy = xmalloc(size + n);
	struct blob b = { .kind = BLOB_FILE, .data = copy, .size = size + n };

	memcpy(copy, magic, n);
	if (size)
		memcpy(copy + n, data, size);
	read_part(d, &b, false, 1, &p);
	read_part(d, &b, true, 2, &p);
	free(copy);
	picture_release(&p);
	decoder_free(d);
	return 0;
}

#endif
