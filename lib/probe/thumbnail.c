#include "lib/probe/thumbnail.h"

int thumbnail_factor(int64_t h, int64_t w)
{
	return (int)MIN((MAX(h, w) + THUMBNAIL_SIDE - 1) / THUMBNAIL_SIDE, MIN(h, w));
}

static uint8_t mean(const uint8_t *rgb, int64_t pitch, int factor)
{
	int64_t sum = 0, count = (int64_t)factor * factor;

	for (int y = 0; y < factor; y++)
		for (int x = 0; x < factor; x++)
			sum += rgb[y * pitch + x * 3];
	return (uint8_t)((sum + count / 2) / count);
}

void thumbnail_make(const uint8_t *rgb, int64_t h, int64_t w, int factor, uint8_t *to)
{
	for (int64_t y = 0; y < h / factor; y++)
		for (int64_t x = 0; x < w / factor; x++)
			for (int c = 0; c < 3; c++)
				*to++ = mean(rgb + (y * w + x) * factor * 3 + c, w * 3, factor);
}
