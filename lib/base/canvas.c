#include "lib/base/canvas.h"
#include "lib/base/files.h"

#include <ctype.h>
#include <zlib.h>

void canvas_init(struct canvas *c, int w, int h)
{
	*c = (struct canvas){ w, h, xmalloc((size_t)w * h * 3) };
	memset(c->rgb, 255, (size_t)w * h * 3);
}

void canvas_release(struct canvas *c)
{
	free(c->rgb);
	*c = (struct canvas){ 0, 0, NULL };
}

/* --- letters --- */

enum { ROWS = 7, COLUMNS = 5 }; /* of a letter */

/* Each letter's rows from the top; the highest of 5 bits is its left pixel. The last one stands for all that are not here. */
static const struct glyph {
	char letter;
	uint8_t rows[ROWS];
} glyphs[] = {
	{ 'A', { 0x0e, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11 } }, { 'B', { 0x1e, 0x11, 0x11, 0x1e, 0x11, 0x11, 0x1e } },
	{ 'C', { 0x0e, 0x11, 0x10, 0x10, 0x10, 0x11, 0x0e } }, { 'D', { 0x1e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x1e } },
	{ 'E', { 0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x1f } }, { 'F', { 0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x10 } },
	{ 'G', { 0x0e, 0x11, 0x10, 0x17, 0x11, 0x11, 0x0f } }, { 'H', { 0x11, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11 } },
	{ 'I', { 0x0e, 0x04, 0x04, 0x04, 0x04, 0x04, 0x0e } }, { 'J', { 0x01, 0x01, 0x01, 0x01, 0x11, 0x11, 0x0e } },
	{ 'K', { 0x11, 0x12, 0x14, 0x18, 0x14, 0x12, 0x11 } }, { 'L', { 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x1f } },
	{ 'M', { 0x11, 0x1b, 0x15, 0x15, 0x11, 0x11, 0x11 } }, { 'N', { 0x11, 0x19, 0x15, 0x13, 0x11, 0x11, 0x11 } },
	{ 'O', { 0x0e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e } }, { 'P', { 0x1e, 0x11, 0x11, 0x1e, 0x10, 0x10, 0x10 } },
	{ 'Q', { 0x0e, 0x11, 0x11, 0x11, 0x15, 0x12, 0x0d } }, { 'R', { 0x1e, 0x11, 0x11, 0x1e, 0x14, 0x12, 0x11 } },
	{ 'S', { 0x0f, 0x10, 0x10, 0x0e, 0x01, 0x01, 0x1e } }, { 'T', { 0x1f, 0x04, 0x04, 0x04, 0x04, 0x04, 0x04 } },
	{ 'U', { 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e } }, { 'V', { 0x11, 0x11, 0x11, 0x11, 0x0a, 0x0a, 0x04 } },
	{ 'W', { 0x11, 0x11, 0x11, 0x15, 0x15, 0x1b, 0x11 } }, { 'X', { 0x11, 0x11, 0x0a, 0x04, 0x0a, 0x11, 0x11 } },
	{ 'Y', { 0x11, 0x11, 0x0a, 0x04, 0x04, 0x04, 0x04 } }, { 'Z', { 0x1f, 0x01, 0x02, 0x04, 0x08, 0x10, 0x1f } },
	{ '0', { 0x0e, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0e } }, { '1', { 0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e } },
	{ '2', { 0x0e, 0x11, 0x01, 0x06, 0x08, 0x10, 0x1f } }, { '3', { 0x1f, 0x02, 0x04, 0x02, 0x01, 0x11, 0x0e } },
	{ '4', { 0x02, 0x06, 0x0a, 0x12, 0x1f, 0x02, 0x02 } }, { '5', { 0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e } },
	{ '6', { 0x06, 0x08, 0x10, 0x1e, 0x11, 0x11, 0x0e } }, { '7', { 0x1f, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08 } },
	{ '8', { 0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e } }, { '9', { 0x0e, 0x11, 0x11, 0x0f, 0x01, 0x02, 0x0c } },
	{ '.', { 0x00, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x0c } }, { ',', { 0x00, 0x00, 0x00, 0x00, 0x0c, 0x04, 0x08 } },
	{ '-', { 0x00, 0x00, 0x00, 0x0e, 0x00, 0x00, 0x00 } }, { '+', { 0x00, 0x04, 0x04, 0x1f, 0x04, 0x04, 0x00 } },
	{ '/', { 0x01, 0x01, 0x02, 0x04, 0x08, 0x10, 0x10 } }, { '_', { 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x1f } },
	{ ':', { 0x00, 0x0c, 0x0c, 0x00, 0x0c, 0x0c, 0x00 } }, { '=', { 0x00, 0x00, 0x1f, 0x00, 0x1f, 0x00, 0x00 } },
	{ ' ', { 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00 } }, { '?', { 0x0e, 0x11, 0x01, 0x02, 0x04, 0x00, 0x04 } },
};

static const uint8_t *rows_of(char letter)
{
	size_t i = 0;

	while (i + 1 < ARRAY_SIZE(glyphs) && glyphs[i].letter != toupper((unsigned char)letter))
		i++;
	return glyphs[i].rows;
}

void canvas_text(struct canvas *c, int x, int y, int scale, const char *text)
{
	for (; *text && x + COLUMNS * scale <= c->w && y + ROWS * scale <= c->h; text++, x += CANVAS_TEXT_W * scale) {
		const uint8_t *rows = rows_of(*text);

		for (int i = 0; i < ROWS * COLUMNS; i++)
			if (rows[i / COLUMNS] >> (COLUMNS - 1 - i % COLUMNS) & 1)
				canvas_box(c, x + i % COLUMNS * scale, y + i / COLUMNS * scale, scale, scale, 0);
	}
}

/* --- shapes --- */

void canvas_box(struct canvas *c, int x, int y, int w, int h, uint32_t colour)
{
	for (int v = MAX(y, 0); v < MIN(y + h, c->h); v++)
		for (int u = MAX(x, 0); u < MIN(x + w, c->w); u++) {
			uint8_t *to = c->rgb + ((size_t)v * c->w + u) * 3;

			to[0] = (uint8_t)(colour >> 16);
			to[1] = (uint8_t)(colour >> 8);
			to[2] = (uint8_t)colour;
		}
}

void canvas_disc(struct canvas *c, int x, int y, int radius, uint32_t colour)
{
	for (int v = -radius; v <= radius; v++) {
		int half = radius;

		while (half * half + v * v > radius * radius + radius)
			half--;
		canvas_box(c, x - half, y + v, 2 * half + 1, 1, colour);
	}
}

void canvas_put(struct canvas *c, int x, int y, const uint8_t *rgb, int w, int h, int scale)
{
	for (int v = 0; v < h * scale; v++)
		for (int u = 0; u < w * scale; u++)
			memcpy(c->rgb + ((size_t)(y + v) * c->w + x + u) * 3, rgb + ((size_t)(v / scale) * w + u / scale) * 3, 3);
}

/* --- PNG: zlib is all it takes, and every program has that --- */

struct file {
	uint8_t *data;
	size_t size;
};

static void put_word(uint8_t *to, uint32_t word)
{
	for (int i = 0; i < 4; i++)
		to[i] = (uint8_t)(word >> (24 - 8 * i));
}

/* Length, type, content, checksum; the content is in its place already. */
static void put_chunk(struct file *f, const char *type, size_t size)
{
	uint8_t *at = f->data + f->size;

	put_word(at, (uint32_t)size);
	memcpy(at + 4, type, 4);
	put_word(at + 8 + size, (uint32_t)crc32(0, at + 4, (uInt)(size + 4)));
	f->size += size + 12;
}

/* Each line begins with the number of its filter: 2, less the line above, suits plain areas, and photographs not badly. */
static uint8_t *filter_lines(const struct canvas *c)
{
	size_t pitch = (size_t)c->w * 3;
	uint8_t *lines = xmalloc((pitch + 1) * c->h), *to = lines;

	for (int y = 0; y < c->h; y++) {
		const uint8_t *row = c->rgb + y * pitch;

		*to++ = 2;
		for (size_t i = 0; i < pitch; i++)
			*to++ = (uint8_t)(row[i] - (y ? row[i - pitch] : 0));
	}
	return lines;
}

static int encode(const struct canvas *c, struct file *f)
{
	uLong raw = ((uLong)c->w * 3 + 1) * c->h;
	uLongf packed = compressBound(raw);
	uint8_t *lines = filter_lines(c), *at;
	int r;

	f->data = xmalloc(packed + 128);
	memcpy(f->data, "\x89PNG\r\n\x1a\n", 8);
	f->size = 8;
	at = f->data + f->size + 8;
	put_word(at, (uint32_t)c->w);
	put_word(at + 4, (uint32_t)c->h);
	memcpy(at + 8, "\x08\x02\x00\x00\x00", 5); /* 8 bits of RGB; deflate, filters, no interlace */
	put_chunk(f, "IHDR", 13);
	r = compress2(f->data + f->size + 8, &packed, lines, raw, Z_DEFAULT_COMPRESSION);
	put_chunk(f, "IDAT", packed);
	put_chunk(f, "IEND", 0);
	free(lines);
	return r == Z_OK ? 0 : fail("unable to encode a PNG: zlib says %d", r);
}

static int emit(int fd, void *arg)
{
	const struct file *f = arg;

	return write_all(fd, f->data, f->size) < 0 ? fail("unable to write the PNG:") : 0;
}

int canvas_write(const struct canvas *c, const char *path)
{
	struct file f = { NULL, 0 };
	int r = encode(c, &f);

	if (r == 0)
		r = write_whole(path, emit, &f);
	free(f.data);
	return r;
}
