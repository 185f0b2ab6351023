#include "lib/image/exif.h"

enum { TAG_ORIENTATION = 0x0112, TYPE_SHORT = 3, TYPE_LONG = 4, ENTRY = 12 };

/* Bytes of a file that are left, in one of the two orders. */
struct view {
	const uint8_t *p;
	size_t n;
	bool big;
};

/* A number of 2 or 4 bytes at an offset; 0 behind the end. */
static uint32_t number(struct view v, size_t at, int bytes)
{
	uint32_t x = 0;

	if (at > v.n || v.n - at < (size_t)bytes)
		return 0;
	for (int i = 0; i < bytes; i++)
		x = x << 8 | v.p[at + (v.big ? i : bytes - 1 - i)];
	return x;
}

static struct view part(struct view v, size_t at, size_t n)
{
	at = MIN(at, v.n);
	return (struct view){ v.p + at, MIN(n, v.n - at), v.big };
}

/* --- where the three formats keep it --- */

/* Segments of a JPEG up to the first scan. */
static struct view find_in_jpeg(struct view v)
{
	size_t at = 2;

	while (at + 4 <= v.n && v.p[at] == 0xff && v.p[at + 1] != 0xda) {
		size_t size = number(v, at + 2, 2);

		if (v.p[at + 1] == 0xff) { /* padding */
			at++;
			continue;
		}
		if (v.p[at + 1] == 0xe1 && size >= 8 && at + 10 <= v.n && memcmp(v.p + at + 4, "Exif\0", 6) == 0)
			return part(v, at + 10, size - 8);
		at += 2 + size;
	}
	return part(v, v.n, 0);
}

/* Chunks of a PNG, or, in the other order and padded to even sizes, of a RIFF file. */
static struct view find_chunk(struct view v, size_t at, const char *name, bool riff)
{
	while (at + 8 <= v.n) {
		size_t size = number(v, at + (riff ? 4 : 0), 4);

		if (memcmp(v.p + at + (riff ? 0 : 4), name, 4) == 0)
			return part(v, at + 8, size);
		at += 8 + size + (riff ? size % 2 : 4);
	}
	return part(v, v.n, 0);
}

/* --- the TIFF within --- */

static int tiff_orientation(struct view v)
{
	uint32_t at, count, found = 1;

	if (v.n >= 6 && memcmp(v.p, "Exif\0", 6) == 0) /* some writers of WebP leave it in */
		v = part(v, 6, v.n);
	if (v.n < 8 || (memcmp(v.p, "II*\0", 4) != 0 && memcmp(v.p, "MM\0*", 4) != 0))
		return 1;
	v.big = v.p[0] == 'M';
	at = number(v, 4, 4);
	count = number(v, at, 2);
	for (uint32_t i = 0; i < count && (size_t)at + 2 + (size_t)(i + 1) * ENTRY <= v.n; i++) {
		size_t e = (size_t)at + 2 + (size_t)i * ENTRY;
		uint32_t type = number(v, e + 2, 2);

		if (number(v, e, 2) == TAG_ORIENTATION && number(v, e + 4, 4) == 1 && (type == TYPE_SHORT || type == TYPE_LONG))
			found = number(v, e + 8, type == TYPE_SHORT ? 2 : 4);
	}
	return found >= 1 && found <= 8 ? (int)found : 1;
}

int exif_orientation(const uint8_t *data, size_t size)
{
	struct view v = { data, size, true };

	if (size < 12)
		return 1;
	if (data[0] == 0xff)
		return tiff_orientation(find_in_jpeg(v));
	if (data[0] == 0x89)
		return tiff_orientation(find_chunk(v, 8, "eXIf", false));
	v.big = false;
	return tiff_orientation(find_chunk(v, 12, "EXIF", true));
}

/* --- turning --- */

/* Whether a step to the right, or down, in the raw picture goes the other way in the upright one. */
static bool mirrors_x(int o)
{
	return o == 2 || o == 3 || o == 7 || o == 8;
}

static bool mirrors_y(int o)
{
	return o == 3 || o == 4 || o == 6 || o == 7;
}

static struct box swap(struct box b, bool swaps)
{
	return swaps ? (struct box){ b.y, b.x, b.h, b.w } : b;
}

static struct box mirror(int o, struct box b, int raw_w, int raw_h)
{
	if (mirrors_x(o))
		b.x = raw_w - b.x - b.w;
	if (mirrors_y(o))
		b.y = raw_h - b.y - b.h;
	return b;
}

struct box exif_raw_box(int orientation, struct box upright, int raw_w, int raw_h)
{
	return mirror(orientation, swap(upright, exif_swaps(orientation)), raw_w, raw_h);
}

void exif_turn(int orientation, const struct picture *raw, int raw_w, int raw_h, struct picture *upright)
{
	int o = orientation;
	struct box held = { raw->x, raw->y, raw->w, raw->h };
	ptrdiff_t right = mirrors_x(o) ? -1 : 1, down = (mirrors_y(o) ? -1 : 1) * (ptrdiff_t)raw->w;
	const uint8_t *first = raw->rgb;

	picture_shape(upright, swap(mirror(o, held, raw_w, raw_h), exif_swaps(o)));
	if (mirrors_x(o))
		first += (size_t)(raw->w - 1) * 3;
	if (mirrors_y(o))
		first += (size_t)(raw->h - 1) * raw->w * 3;
	if (exif_swaps(o)) {
		ptrdiff_t t = right;

		right = down;
		down = t;
	}
	for (int y = 0; y < upright->h; y++) {
		uint8_t *out = upright->rgb + (size_t)y * upright->w * 3;

		for (int x = 0; x < upright->w; x++)
			memcpy(out + x * 3, first + (y * down + x * right) * 3, 3);
	}
}
