#include "lib/image/exif.h"

#include <ctype.h>
#include <zlib.h>

/* TEXT_MOST: the length of a deflated text from which on Pillow refuses the file. */
enum { TAG_ORIENTATION = 0x0112, TYPE_SHORT = 3, TYPE_LONG = 4, ENTRY = 12, OTHER = 9, TEXT_MOST = 1 << 20 };

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

/* --- where JPEG and WebP keep it --- */

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

/* Chunks of a RIFF file, padded to even sizes. */
static struct view find_in_webp(struct view v)
{
	for (size_t at = 12; at + 8 <= v.n;) {
		size_t size = number(v, at + 4, 4);

		if (memcmp(v.p + at, "EXIF", 4) == 0)
			return part(v, at + 8, size);
		at += 8 + size + size % 2;
	}
	return part(v, v.n, 0);
}

/* --- the TIFF within --- */

/* 1 to 8; 0: it says nothing; OTHER: it says something else. */
static int tiff_orientation(struct view v)
{
	uint32_t at, count;
	int found = 0;

	if (v.n >= 6 && memcmp(v.p, "Exif\0", 6) == 0) /* some writers of WebP leave it in */
		v = part(v, 6, v.n);
	if (v.n < 8 || (memcmp(v.p, "II*\0", 4) != 0 && memcmp(v.p, "MM\0*", 4) != 0))
		return 0;
	v.big = v.p[0] == 'M';
	at = number(v, 4, 4);
	count = number(v, at, 2);
	for (uint32_t i = 0; i < count && (size_t)at + 2 + (size_t)(i + 1) * ENTRY <= v.n; i++) {
		size_t e = (size_t)at + 2 + (size_t)i * ENTRY;
		uint32_t type = number(v, e + 2, 2), said = number(v, e + 8, type == TYPE_SHORT ? 2 : 4);
		bool one = number(v, e + 4, 4) == 1 && (type == TYPE_SHORT || type == TYPE_LONG);

		if (number(v, e, 2) == TAG_ORIENTATION)
			found = one && said >= 1 && said < OTHER ? (int)said : OTHER;
	}
	return found;
}

/* --- PNG: a chunk for it, or texts, where older programs put it --- */

/* The three in the order in which they are believed; of several of a kind the last counts. */
enum { NOTE_EXIF, NOTE_HEX, NOTE_XMP, NOTES };
static const char *const note_keys[NOTES] = { "exif", "Raw profile type exif", "XML:com.adobe.xmp" };

struct png_note {
	struct view text;       /* of address NULL: there is none */
	bool deflated;
};

/* Takes the text up to the next NUL off the front. */
static bool skip_word(struct view *v)
{
	const uint8_t *nul = v->n ? memchr(v->p, 0, v->n) : NULL;

	if (nul)
		*v = part(*v, nul + 1 - v->p, v->n);
	return nul != NULL;
}

/* tEXt: key, NUL, text; zTXt: key, NUL, method, text; iTXt: key, NUL, is deflated, method, two words, text. */
static void take_text(struct view v, const char *type, struct png_note notes[NOTES])
{
	struct png_note n = { v, *type == 'z' };
	int kind = 0;

	while (kind < NOTES && (v.n <= strlen(note_keys[kind]) || memcmp(v.p, note_keys[kind], strlen(note_keys[kind]) + 1) != 0))
		kind++;
	if (kind == NOTES || (kind == NOTE_EXIF && *type != 't') || !skip_word(&n.text))
		return;
	if (*type == 'i') {
		n.deflated = n.text.n > 0 && *n.text.p != 0;
		n.text = part(n.text, 2, n.text.n);
		if (!skip_word(&n.text) || !skip_word(&n.text))
			return;
	} else if (*type == 'z') {
		n.text = part(n.text, 1, n.text.n);
	}
	notes[kind] = n;
}

/* As Pillow does: what comes behind the pixels is looked at only when there is no EXIF before them. */
static void find_notes(struct view v, struct png_note notes[NOTES])
{
	size_t size;

	for (size_t at = 8; at + 8 <= v.n; at += 12 + size) {
		const char *type = (const char *)v.p + at + 4;
		struct view data = part(v, at + 8, size = number(v, at, 4));

		if (memcmp(type, "IDAT", 4) == 0 && notes[NOTE_EXIF].text.p)
			return;
		if (memcmp(type, "eXIf", 4) == 0)
			notes[NOTE_EXIF] = (struct png_note){ data, false };
		else if (memcmp(type, "tEXt", 4) == 0 || memcmp(type, "zTXt", 4) == 0 || memcmp(type, "iTXt", 4) == 0)
			take_text(data, type, notes);
	}
}

/* At most TEXT_MOST bytes of the text; text: room for as many. */
static struct view note_text(const struct png_note *n, uint8_t *text)
{
	size_t size = 0;
	z_stream z = { .next_in = (Bytef *)n->text.p, .avail_in = (uInt)n->text.n, .next_out = text, .avail_out = TEXT_MOST };

	if (!n->deflated) {
		size = MIN(n->text.n, TEXT_MOST);
		if (size)
			memcpy(text, n->text.p, size);
	} else if (inflateInit(&z) == Z_OK) {
		int r = inflate(&z, Z_SYNC_FLUSH);

		size = r == Z_OK || r == Z_STREAM_END ? z.total_out : 0; /* a cut one gives what is there */
		inflateEnd(&z);
	}
	return (struct view){ text, size, true };
}

static int hex_digit(int c)
{
	return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* Behind three lines of other words, bytes as pairs of digits, in place. */
static struct view unhex(struct view v, uint8_t *text)
{
	size_t at = 0, digits = 0;

	for (int lines = 0; at < v.n && lines < 3; at++)
		lines += v.p[at] == '\n';
	for (; at < v.n; at++) {
		int digit = hex_digit(v.p[at]);

		if (digit < 0 && !isspace(v.p[at]))
			return part(v, v.n, 0);
		if (digit < 0)
			continue;
		text[digits / 2] = (uint8_t)(digits % 2 ? text[digits / 2] << 4 | digit : digit);
		digits++;
	}
	return (struct view){ text, digits / 2, true };
}

/* tiff:Orientation="6", or the same as an element. */
static int xmp_orientation(struct view v)
{
	static const char key[] = "tiff:Orientation";
	const uint8_t *p = v.p, *end = v.p + v.n;

	while ((p = memmem(p, end - p, key, strlen(key))) != NULL) {
		p += strlen(key);
		if (end - p >= 3 && p[0] == '=' && p[1] == '"' && isdigit(p[2]))
			return p[2] - '0';
		if (end - p >= 2 && p[0] == '>' && isdigit(p[1]))
			return p[1] - '0';
	}
	return 0;
}

static int png_orientation(struct view v)
{
	struct png_note notes[NOTES] = { 0 };
	uint8_t *text;
	int found;

	find_notes(v, notes);
	found = tiff_orientation(notes[NOTE_EXIF].text);
	if (found || (!notes[NOTE_HEX].text.p && !notes[NOTE_XMP].text.p))
		return found;
	text = xmalloc(TEXT_MOST);
	if (!notes[NOTE_EXIF].text.p && notes[NOTE_HEX].text.p)
		found = tiff_orientation(unhex(note_text(&notes[NOTE_HEX], text), text));
	if (!found && notes[NOTE_XMP].text.p)
		found = xmp_orientation(note_text(&notes[NOTE_XMP], text));
	free(text);
	return found;
}

int exif_orientation(const uint8_t *data, size_t size)
{
	struct view v = { data, size, true };
	int found;

	if (size < 12)
		return 1;
	if (data[0] == 0xff) {
		found = tiff_orientation(find_in_jpeg(v));
	} else if (data[0] == 0x89) {
		found = png_orientation(v);
	} else if (memcmp(data, "RIFF", 4) == 0) {
		v.big = false;
		found = tiff_orientation(find_in_webp(v));
	} else {
		return 1; /* other formats say it themselves */
	}
	return found >= 1 && found < OTHER ? found : 1;
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
