#include "lib/image/cover.h"

static void fill_box(uint8_t *rgb, int size, struct box b, const uint8_t fill[3])
{
	for (int y = b.y; y < b.y + b.h; y++)
		for (int x = b.x; x < b.x + b.w; x++)
			memcpy(rgb + ((size_t)y * size + x) * 3, fill, 3);
}

static void fill_cells(const struct draw *d, int size, uint8_t *rgb)
{
	int n = d->cells;

	for (int i = 0; i < n * n; i++) {
		struct box b = { i % n * size / n, i / n * size / n, 0, 0 };

		b.w = (i % n + 1) * size / n - b.x;
		b.h = (i / n + 1) * size / n - b.y;
		if (d->hidden[i / 64] >> i % 64 & 1)
			fill_box(rgb, size, b, d->fill);
	}
}

void cover_apply(const struct draw *d, uint8_t *rgb)
{
	if (d->cells)
		fill_cells(d, d->part.w, rgb);
	fill_box(rgb, d->part.w, d->shared, d->fill);
}
