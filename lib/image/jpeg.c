/* jpeg.c - JPEG by libjpeg-turbo with Pillow's settings: exact (ISLOW) transform, smooth ("fancy") chroma upsampling */
#include "lib/image/codec.h"

#include <setjmp.h>
#include <jpeglib.h>

/* Scans may be a few bytes long and go over the whole image each: both their number and the pixels that all of them pass over are
 * limited, to about a second of work. */
enum { SCANS_MAX = 500, SCANNED_MAX = 10 * PICTURE_PIXELS, STREAMED = 32, PORTION = 65536 };

struct jpeg {
	struct jpeg_decompress_struct c;
	struct jpeg_error_mgr errors;
	struct jpeg_source_mgr source;
	struct jpeg_progress_mgr progress;
	jmp_buf fence;
	bool open;
	const uint8_t *data;
	size_t hidden;          /* bytes of the file behind those that libjpeg knows of */
	int least;              /* pixels of the short side of reduced pictures; 0: exact */
	uint8_t *row;           /* one row, see row_room() */
	size_t row_room;
};

/* --- libjpeg's callbacks --- */

/* Every error of libjpeg ends here and must not return: the sentence is kept, control goes back to the fence. */
static void on_error(j_common_ptr c)
{
	struct jpeg *j = c->client_data;
	char text[JMSG_LENGTH_MAX];

	c->err->format_message(c, text);
	text[strcspn(text, "\n")] = '\0';
	fail("libjpeg says '%s'", text);
	longjmp(j->fence, 1);
}

/* Damage that libjpeg works around gives the same pixels as in Pillow, so warnings are no news. */
static void on_message(j_common_ptr c, int level)
{
	(void)c;
	(void)level;
}

static void on_progress(j_common_ptr c)
{
	struct jpeg *j = c->client_data;

	if (j->c.input_scan_number > SCANS_MAX) {
		fail("it has more than %d scans", SCANS_MAX);
		longjmp(j->fence, 1);
	}
	if ((int64_t)j->c.input_scan_number * j->c.image_width * j->c.image_height > SCANNED_MAX) {
		fail("it has %d scans of %u x %u pixels, too many to go through", j->c.input_scan_number, j->c.image_width,
		     j->c.image_height);
		longjmp(j->fence, 1);
	}
}

/* Where more is hidden, libjpeg goes back to the start of a block of pixels and returns: see show_more(). */
static boolean on_end_of_data(j_decompress_ptr c)
{
	struct jpeg *j = c->client_data;

	if (j->hidden)
		return FALSE;
	fail("it is truncated");
	longjmp(j->fence, 1);
}

static void show_more(struct jpeg *j)
{
	size_t n = MIN(j->hidden, PORTION);

	j->source.bytes_in_buffer += n;
	j->hidden -= n;
}

static void on_skip(j_decompress_ptr c, long n)
{
	struct jpeg *j = c->client_data;

	while (n > 0 && (size_t)n > c->src->bytes_in_buffer && j->hidden)
		show_more(j);
	if (n > 0 && (size_t)n > c->src->bytes_in_buffer)
		on_end_of_data(c);
	if (n > 0) {
		c->src->next_input_byte += n;
		c->src->bytes_in_buffer -= n;
	}
}

static void on_nothing(j_decompress_ptr c)
{
	(void)c;
}

/* --- codec --- */

static void *jpeg_create(void)
{
	struct jpeg *j = xcalloc(1, sizeof(*j));

	jpeg_std_error(&j->errors);
	j->errors.error_exit = on_error;
	j->errors.emit_message = on_message;
	j->source = (struct jpeg_source_mgr){
		.init_source = on_nothing,
		.fill_input_buffer = on_end_of_data,
		.skip_input_data = on_skip,
		.resync_to_restart = jpeg_resync_to_restart,
		.term_source = on_nothing,
	};
	j->progress.progress_monitor = on_progress;
	return j;
}

static void jpeg_shut(struct jpeg *j)
{
	if (j->open)
		jpeg_destroy_decompress(&j->c);
	j->open = false;
}

static void jpeg_dispose(void *state)
{
	struct jpeg *j = state;

	jpeg_shut(j);
	free(j->row);
	free(j);
}

/* A decompressor that is used again keeps the tables of the image before, and a file that lacks its own would then decode by
 * chance. So each image gets a new one; that costs about a microsecond. */
static void jpeg_renew(struct jpeg *j)
{
	jpeg_shut(j);
	memset(&j->c, 0, sizeof(j->c));
	j->c.err = &j->errors;
	j->c.client_data = j;
	j->open = true;
	jpeg_create_decompress(&j->c);
	j->c.client_data = j;
	j->c.src = &j->source;
	j->c.progress = &j->progress;
}

static void jpeg_hurry(void *state, int least)
{
	struct jpeg *j = state;

	j->least = least;
}

/* Before anything is decoded; sets the size of the output. */
static void choose_speed(struct jpeg *j)
{
	int side = (int)MIN(j->c.image_width, j->c.image_height);

	if (j->least) {
		j->c.dct_method = JDCT_IFAST;
		j->c.do_fancy_upsampling = FALSE;
		for (; j->c.scale_denom < 8 && side >= j->least * 2; side /= 2)
			j->c.scale_denom *= 2;
	}
	jpeg_calc_output_dimensions(&j->c);
}

static int jpeg_open(void *state, const uint8_t *data, size_t size, int *w, int *h)
{
	struct jpeg *j = state;

	if (setjmp(j->fence))
		return -1;
	jpeg_renew(j);
	j->data = data;
	j->hidden = 0;
	j->source.next_input_byte = data;
	j->source.bytes_in_buffer = size;
	jpeg_read_header(&j->c, TRUE);
	if (j->c.num_components != 1 && j->c.num_components != 3 && j->c.num_components != 4)
		return fail("it has %d colour channels", j->c.num_components);
	if (picture_check_size(j->c.image_width, j->c.image_height) < 0)
		return -1;
	choose_speed(j);
	*w = (int)j->c.output_width;
	*h = (int)j->c.output_height;
	return 0;
}

/* Whether an end-of-image marker closes the file. Without it some rows may be missing, which only decoding them all tells. */
static bool is_closed(const struct jpeg *j)
{
	const uint8_t *first = j->source.next_input_byte, *p = first + j->source.bytes_in_buffer;
	const uint8_t *floor = j->source.bytes_in_buffer > 4096 ? p - 4096 : first;

	for (p--; p > floor; p--)
		if (p[-1] == 0xff && p[0] == JPEG_EOI)
			return true;
	return false;
}

/* A file without an end is read by portions of as many bytes as Pillow reads at a time. How far libjpeg looks ahead for the last
 * pixels depends on where portions end, and with it whether it misses the end. */
static void hide_end(struct jpeg *j)
{
	size_t at = (size_t)(j->source.next_input_byte - j->data), known = MIN(PORTION - at % PORTION, j->source.bytes_in_buffer);

	j->hidden = j->source.bytes_in_buffer - known;
	j->source.bytes_in_buffer = known;
}

/* The window with the margin that upsampling looks at: one MCU to each side. Progressive files have the whole work done
 * before the first row, and smoothing across blocks when scans are missing, so they are decoded whole. */
static struct box decode_window(const struct jpeg *j, struct box want)
{
	struct box all = { 0, 0, (int)j->c.output_width, (int)j->c.output_height }, b = want;
	int margin = j->c.max_h_samp_factor * DCTSIZE;

	if (j->c.progressive_mode || !is_closed(j))
		return all;
	b.x = MAX(want.x - margin, 0);
	b.w = MIN(want.x + want.w + margin, all.w) - b.x;
	return b;
}

/* MULDIV255 of the PostScript world: a * b / 255, rounded. */
static int scale255(int a, int b)
{
	int t = a * b + 128;

	return ((t >> 8) + t) >> 8;
}

/* The four channels are stored inverted; Pillow then takes black away from each of the others. */
static void cmyk_to_rgb(uint8_t *rgb, const uint8_t *cmyk, int w)
{
	for (int x = 0; x < w; x++) {
		int light = cmyk[x * 4 + 3];

		for (int k = 0; k < 3; k++)
			rgb[x * 3 + k] = (uint8_t)MAX(light - scale255(255 - cmyk[x * 4 + k], light), 0);
	}
}

/* A row of its own, never at a multiple of STREAMED. */
static uint8_t *row_room(struct jpeg *j, size_t size)
{
	if (size > j->row_room) {
		free(j->row);
		j->row = xaligned(size + STREAMED / 2);
		j->row_room = size;
	}
	return j->row + STREAMED / 2;
}

/* Reads the rows of p, whose columns are the decoded ones. Rows at multiples of STREAMED would be written past the caches by
 * libjpeg-turbo, which costs more than a copy. */
static void read_rows(struct jpeg *j, struct picture *p)
{
	bool cmyk = j->c.output_components == 4;
	uint8_t *own = row_room(j, (size_t)p->w * j->c.output_components);

	for (int y = 0; y < p->h; y++) {
		uint8_t *out = p->rgb + (size_t)y * p->w * 3, *row = cmyk || (uintptr_t)out % STREAMED == 0 ? own : out;

		while (jpeg_read_scanlines(&j->c, &row, 1) == 0)
			show_more(j);
		if (cmyk)
			cmyk_to_rgb(out, row, p->w);
		else if (row == own)
			memcpy(out, row, (size_t)p->w * 3);
	}
}

static int jpeg_read(void *state, struct box window, struct picture *p)
{
	struct jpeg *j = state;
	struct box b = decode_window(j, window);
	JDIMENSION left = b.x, width = b.w;

	if (setjmp(j->fence)) {
		jpeg_shut(j);
		return -1;
	}
	j->c.out_color_space = j->c.num_components == 4 ? JCS_CMYK : JCS_RGB;
	if (!is_closed(j))
		hide_end(j);
	while (!jpeg_start_decompress(&j->c))
		show_more(j);
	if (width < j->c.output_width)
		jpeg_crop_scanline(&j->c, &left, &width);
	picture_shape(p, (struct box){ (int)left, b.y, (int)width, b.h });
	if (p->y > 0)
		jpeg_skip_scanlines(&j->c, p->y);
	read_rows(j, p);
	jpeg_shut(j);
	return 0;
}

const struct codec codec_jpeg = {
	{ "jpeg", "baseline and progressive; grey, YCbCr, RGB, CMYK, YCCK", NULL },
	{ { 0, 3, "\xff\xd8\xff" } }, "jpg", jpeg_create, jpeg_dispose, jpeg_open, jpeg_hurry, jpeg_read,
};

/* --- writing --- */

static void on_write_error(j_common_ptr c)
{
	char text[JMSG_LENGTH_MAX];

	c->err->format_message(c, text);
	fail("unable to encode a JPEG: %s", text);
	longjmp(*(jmp_buf *)c->client_data, 1);
}

int jpeg_encode(const uint8_t *rgb, int w, int h, int quality, void **data, size_t *size)
{
	struct jpeg_compress_struct c = { 0 };
	struct jpeg_error_mgr errors;
	jmp_buf fence;
	unsigned char *volatile bytes = NULL;
	unsigned long n = 0;

	c.err = jpeg_std_error(&errors);
	errors.error_exit = on_write_error;
	c.client_data = &fence;
	if (setjmp(fence)) {
		jpeg_destroy_compress(&c);
		free(bytes);
		return -1;
	}
	jpeg_create_compress(&c);
	c.client_data = &fence;
	jpeg_mem_dest(&c, (unsigned char **)&bytes, &n);
	c.image_width = (JDIMENSION)w;
	c.image_height = (JDIMENSION)h;
	c.input_components = 3;
	c.in_color_space = JCS_RGB;
	jpeg_set_defaults(&c);
	jpeg_set_quality(&c, quality, TRUE);
	jpeg_start_compress(&c, TRUE);
	while (c.next_scanline < c.image_height) {
		JSAMPROW row = (JSAMPROW)(rgb + (size_t)c.next_scanline * w * 3);

		jpeg_write_scanlines(&c, &row, 1);
	}
	jpeg_finish_compress(&c);
	jpeg_destroy_compress(&c);
	*data = bytes;
	*size = n;
	return 0;
}
