/* heif.c - HEIC and AVIF by libheif: the primary image as its file says it is to be seen, in 8 bits, alpha dropped */
#include "lib/image/codec.h"
#include "lib/image/late.h"

/* libheif's own values (heif.h of 1.13, the first with all of these; any libheif.so.1 from then on has the same). */
enum { COLORSPACE_RGB = 1, CHROMA_RGB = 10, CHANNEL_INTERLEAVED = 10, OPTIONS_TO_8BIT = 2 };

struct heif_error {
	int code, subcode;      /* 0: none */
	const char *message;
};

/* What begins heif_decoding_options. */
struct options {
	uint8_t version, ignore_transformations;
	void (*progress[3])(void);
	void *user;
	uint8_t to_8bit;        /* from version OPTIONS_TO_8BIT on */
};

#define HEIF(X) \
	X(heif_, void *, context_alloc, (void)) \
	X(heif_, void, context_free, (void *file)) \
	X(heif_, void, context_set_maximum_image_size_limit, (void *file, int side)) \
	X(heif_, void, context_set_max_decoding_threads, (void *file, int threads)) \
	X(heif_, struct heif_error, context_read_from_memory_without_copy, (void *file, const void *data, size_t size, \
									    const void *options)) \
	X(heif_, struct heif_error, context_get_primary_image_handle, (void *file, void **image)) \
	X(heif_, void, image_handle_release, (const void *image)) \
	X(heif_, int, image_handle_get_width, (const void *image)) \
	X(heif_, int, image_handle_get_height, (const void *image)) \
	X(heif_, struct options *, decoding_options_alloc, (void)) \
	X(heif_, void, decoding_options_free, (struct options *options)) \
	X(heif_, struct heif_error, decode_image, (const void *image, void **pixels, int colorspace, int chroma, \
						   const struct options *options)) \
	X(heif_, int, image_get_width, (const void *pixels, int channel)) \
	X(heif_, int, image_get_height, (const void *pixels, int channel)) \
	X(heif_, const uint8_t *, image_get_plane_readonly, (const void *pixels, int channel, int *pitch)) \
	X(heif_, void, image_release, (const void *pixels))

static struct { HEIF(LATE_CALL) } heif;
static const char *const names[] = { HEIF(LATE_NAME) };
static struct late library = LATE_INIT("libheif1", heif, names, NULL, "libheif.so.1");

struct reader {
	void *file, *image;     /* of the open picture */
	int w, h;
};

static void *heif_create(void)
{
	return xcalloc(1, sizeof(struct reader));
}

static void heif_shut(struct reader *r)
{
	if (r->image)
		heif.image_handle_release(r->image);
	if (r->file)
		heif.context_free(r->file);
	*r = (struct reader){ 0 };
}

static void heif_dispose(void *state)
{
	heif_shut(state);
	free(state);
}

static int heif_fail(struct reader *r, struct heif_error e)
{
	fail("libheif says '%s'", e.message ? e.message : "unknown error");
	heif_shut(r);
	return -1;
}

static int heif_open(void *state, const uint8_t *data, size_t size, int *w, int *h)
{
	struct reader *r = state;
	struct heif_error e;

	heif_shut(r);
	r->file = heif.context_alloc();
	if (!r->file)
		return fail("libheif has no memory");
	heif.context_set_max_decoding_threads(r->file, 0); /* pictures are decoded side by side already */
	e = heif.context_read_from_memory_without_copy(r->file, data, size, NULL);
	if (e.code == 0)
		e = heif.context_get_primary_image_handle(r->file, &r->image);
	if (e.code != 0)
		return heif_fail(r, e);
	*w = r->w = heif.image_handle_get_width(r->image);
	*h = r->h = heif.image_handle_get_height(r->image);
	/* parts that are larger than the whole are nobody's picture; 512: a side of a tile */
	heif.context_set_maximum_image_size_limit(r->file, MAX(r->w, r->h) + 512);
	return picture_check_size(r->w, r->h);
}

static int decode(struct reader *r, void **pixels)
{
	struct options *o = heif.decoding_options_alloc();
	struct heif_error e;

	if (!o)
		return fail("libheif has no memory");
	if (o->version >= OPTIONS_TO_8BIT)
		o->to_8bit = 1;
	e = heif.decode_image(r->image, pixels, COLORSPACE_RGB, CHROMA_RGB, o);
	heif.decoding_options_free(o);
	return e.code == 0 ? 0 : heif_fail(r, e);
}

static int copy(const struct reader *r, const void *pixels, struct picture *p)
{
	int w = heif.image_get_width(pixels, CHANNEL_INTERLEAVED), pitch = 0;
	int h = heif.image_get_height(pixels, CHANNEL_INTERLEAVED);
	const uint8_t *rows = heif.image_get_plane_readonly(pixels, CHANNEL_INTERLEAVED, &pitch);

	if (!rows || w != r->w || h != r->h)
		return fail("it has %d x %d pixels where it claims %d x %d", w, h, r->w, r->h);
	picture_shape(p, (struct box){ 0, 0, w, h });
	for (int y = 0; y < h; y++)
		memcpy(p->rgb + (size_t)y * w * 3, rows + (ptrdiff_t)y * pitch, (size_t)w * 3);
	return 0;
}

static int heif_read(void *state, struct box window, struct picture *p)
{
	struct reader *r = state;
	void *pixels = NULL;
	int result;

	(void)window; /* libheif has no way in: the whole image is read */
	if (decode(r, &pixels) < 0)
		return -1;
	result = copy(r, pixels, p);
	heif.image_release(pixels);
	heif_shut(r);
	return result;
}

const struct codec codec_heic = {
	{ "heic", "HEIF of a phone: 8 and more bits, turned as it says, alpha dropped, primary image", NULL },
	{ { 4, 7, "ftyphei" }, { 4, 7, "ftyphev" }, { 4, 8, "ftypmif1" }, { 4, 8, "ftypmsf1" } }, "heic",
	heif_create, heif_dispose, heif_open, NULL, heif_read, NULL, &library,
};

const struct codec codec_avif = {
	{ "avif", "as heic", NULL }, { { 4, 7, "ftypavi" } }, "avif",
	heif_create, heif_dispose, heif_open, NULL, heif_read, NULL, &library,
};
