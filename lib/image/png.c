/* png.c - PNG by libpng, giving what Pillow's convert("RGB") gives */
#include "lib/image/codec.h"

#include <setjmp.h>
#include <png.h>

struct reader {
	png_structp png;
	png_infop info;
	const uint8_t *at;
	size_t left;
	uint8_t **rows;
	size_t rows_room;
	uint8_t *wide;          /* 16-bit grey before it is clipped */
	size_t wide_room;
};

/* Called by libpng for every error; the default would print it. */
static void on_error(png_structp png, png_const_charp text)
{
	fail("libpng says '%s'", text);
	png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
	(void)png;
	(void)text;
}

static void on_read(png_structp png, png_bytep dst, size_t n)
{
	struct reader *r = png_get_io_ptr(png);

	if (n > r->left) {
		fail("it is truncated");
		png_longjmp(png, 1);
	}
	memcpy(dst, r->at, n);
	r->at += n;
	r->left -= n;
}

static void *png_reader_create(void)
{
	return xcalloc(1, sizeof(struct reader));
}

static void png_shut(struct reader *r)
{
	png_destroy_read_struct(&r->png, &r->info, NULL);
}

static void png_reader_destroy(void *state)
{
	struct reader *r = state;

	png_shut(r);
	free(r->rows);
	free(r->wide);
	free(r);
}

static int png_open(void *state, const uint8_t *data, size_t size, int *w, int *h)
{
	struct reader *r = state;

	png_shut(r);
	r->at = data;
	r->left = size;
	r->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, NULL, on_error, on_warning);
	r->info = r->png ? png_create_info_struct(r->png) : NULL;
	if (!r->info)
		return fail("libpng has no memory");
	if (setjmp(png_jmpbuf(r->png)))
		return -1;
	png_set_user_limits(r->png, 1 << 20, 1 << 20);
	/* texts and profiles are passed over, however long */
	png_set_keep_unknown_chunks(r->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
	png_set_read_fn(r->png, r, on_read);
	png_read_info(r->png, r->info);
	if (picture_check_size(png_get_image_width(r->png, r->info), png_get_image_height(r->png, r->info)) < 0)
		return -1;
	*w = (int)png_get_image_width(r->png, r->info);
	*h = (int)png_get_image_height(r->png, r->info);
	return 0;
}

/* Pillow opens 16-bit grey as 32-bit integers, which convert("RGB") clips at 255; every other 16-bit kind loses its low byte. */
static bool is_wide_grey(const struct reader *r)
{
	return png_get_bit_depth(r->png, r->info) == 16 && png_get_color_type(r->png, r->info) == PNG_COLOR_TYPE_GRAY;
}

static void set_transforms(struct reader *r)
{
	int type = png_get_color_type(r->png, r->info);

	if (type == PNG_COLOR_TYPE_PALETTE)
		png_set_palette_to_rgb(r->png);
	if (type == PNG_COLOR_TYPE_GRAY)
		png_set_expand_gray_1_2_4_to_8(r->png);
	if (!is_wide_grey(r)) {
		png_set_strip_16(r->png);
		png_set_gray_to_rgb(r->png);
	}
	png_set_strip_alpha(r->png);
	png_set_interlace_handling(r->png);
	png_read_update_info(r->png, r->info);
}

static void clip_wide_grey(struct picture *p, const uint8_t *wide)
{
	for (size_t i = 0; i < (size_t)p->w * p->h; i++) {
		uint8_t v = wide[i * 2] ? 255 : wide[i * 2 + 1];

		memset(p->rgb + i * 3, v, 3);
	}
}

static void grow(void *memory, size_t *room, size_t need)
{
	void **m = memory;

	if (need > *room) {
		*m = xrealloc(*m, need, 1);
		*room = need;
	}
}

static int png_read(void *state, struct box window, struct picture *p)
{
	struct reader *r = state;
	int w = (int)png_get_image_width(r->png, r->info), h = (int)png_get_image_height(r->png, r->info);
	bool wide = is_wide_grey(r);
	size_t pitch = (size_t)w * (wide ? 2 : 3);

	(void)window; /* PNG has no way in: the whole image is read */
	picture_shape(p, (struct box){ 0, 0, w, h });
	if (wide)
		grow(&r->wide, &r->wide_room, pitch * h);
	grow(&r->rows, &r->rows_room, (size_t)h * sizeof(*r->rows));
	for (int y = 0; y < h; y++)
		r->rows[y] = (wide ? r->wide : p->rgb) + y * pitch;
	if (setjmp(png_jmpbuf(r->png))) {
		png_shut(r);
		return -1;
	}
	set_transforms(r);
	if (png_get_rowbytes(r->png, r->info) != pitch)
		png_error(r->png, "unexpected row size");
	png_read_image(r->png, r->rows);
	if (wide)
		clip_wide_grey(p, r->wide);
	png_shut(r);
	return 0;
}

const struct codec codec_png = {
	{ "png", "palette, grey, colour, alpha dropped, 8 and 16 bit, interlaced", NULL },
	{ { 0, 8, "\x89PNG\r\n\x1a\n" } }, "png", png_reader_create, png_reader_destroy, png_open, NULL, png_read,
};

/* --- writing --- */

/* A file in the making. */
struct sheet {
	uint8_t *data;
	size_t used, room;
};

static void on_write(png_structp png, png_bytep data, size_t n)
{
	struct sheet *s = png_get_io_ptr(png);

	if (s->used + n > s->room) {
		s->room = MAX(2 * s->room, s->used + n + 65536);
		s->data = xrealloc(s->data, s->room, 1);
	}
	memcpy(s->data + s->used, data, n);
	s->used += n;
}

static void on_flush(png_structp png)
{
	(void)png;
}

static int encode(struct sheet *s, const uint8_t *rgb, int w, int h)
{
	png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, on_error, on_warning);
	png_infop info = png ? png_create_info_struct(png) : NULL;

	if (!info || setjmp(png_jmpbuf(png))) {
		png_destroy_write_struct(&png, &info);
		return fail("unable to encode a PNG: %s", why());
	}
	png_set_write_fn(png, s, on_write, on_flush);
	png_set_IHDR(png, info, w, h, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
		     PNG_FILTER_TYPE_DEFAULT);
	png_write_info(png, info);
	for (int y = 0; y < h; y++)
		png_write_row(png, rgb + (size_t)y * w * 3);
	png_write_end(png, NULL);
	png_destroy_write_struct(&png, &info);
	return 0;
}

int png_encode(const uint8_t *rgb, int w, int h, void **data, size_t *size)
{
	struct sheet s = { NULL, 0, 0 };

	if (encode(&s, rgb, w, h) < 0) {
		free(s.data);
		return -1;
	}
	*data = s.data;
	*size = s.used;
	return 0;
}
