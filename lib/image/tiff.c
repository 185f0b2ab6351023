/* tiff.c - TIFF as libtiff's TIFFReadRGBAImage reads it: the first page in 8 bits, alpha dropped, turned as its tag says */
#include "lib/image/codec.h"
#include "lib/image/late.h"

/* tiff.h's values and tiffio.h's types of version 4. */
enum { TAG_WIDTH = 256, TAG_HEIGHT = 257, TAG_ORIENTATION = 274, TAG_EXTRASAMPLES = 338, ASSOCIATED = 1, UNASSOCIATED = 2 };
enum { EXTRAS = 8 };

typedef void (*tiff_handler)(void *handle, const char *module, const char *fmt, va_list ap);
typedef ptrdiff_t (*tiff_transfer)(void *handle, void *data, ptrdiff_t n);

#define TIFF(X) \
	X(TIFF, void *, ClientOpen, (const char *name, const char *mode, void *handle, tiff_transfer read, tiff_transfer write, \
				     uint64_t (*seek)(void *, uint64_t, int), int (*close)(void *), uint64_t (*size)(void *), \
				     int (*map)(void *, void **, uint64_t *), void (*unmap)(void *, void *, uint64_t))) \
	X(TIFF, void, Close, (void *file)) \
	X(TIFF, int, GetFieldDefaulted, (void *file, uint32_t tag, ...)) \
	X(TIFF, int, SetField, (void *file, uint32_t tag, ...)) \
	X(TIFF, int, IsTiled, (void *file)) \
	X(TIFF, ptrdiff_t, TileSize, (void *file)) \
	X(TIFF, ptrdiff_t, StripSize, (void *file)) \
	X(TIFF, int, RGBAImageOK, (void *file, char why[1024])) \
	X(TIFF, int, ReadRGBAImageOriented, (void *file, uint32_t w, uint32_t h, uint32_t *pixels, int orientation, int stop)) \
	X(TIFF, void *, SetErrorHandler, (void (*handler)(const char *, const char *, va_list))) \
	X(TIFF, void *, SetWarningHandler, (void (*handler)(const char *, const char *, va_list))) \
	X(TIFF, tiff_handler, SetErrorHandlerExt, (tiff_handler handler))

static struct { TIFF(LATE_CALL) } tiff;
static const char *const names[] = { TIFF(LATE_NAME) };

/* Called by libtiff for every error, in the thread that met it. The file may be another user's of the library in this program. */
__attribute__((format(printf, 3, 0)))
static void on_error(void *handle, const char *module, const char *fmt, va_list ap)
{
	char text[256];

	(void)handle;
	(void)module;
	vsnprintf(text, sizeof(text), fmt, ap);
	text[strcspn(text, "\n")] = '\0';
	fail("libtiff says '%s'", text);
}

/* The default would print. */
static void begin(void)
{
	tiff.SetErrorHandler(NULL);
	tiff.SetWarningHandler(NULL);
	tiff.SetErrorHandlerExt(on_error);
}

static struct late library = LATE_INIT("libtiff6", tiff, names, begin, "libtiff.so.6", "libtiff.so.5");

struct reader {
	void *file;             /* of the open image */
	const uint8_t *data;
	uint64_t size, at;
	int w, h;
	uint16_t orientation;
	bool multiplied;        /* by its alpha */
};

/* --- a file in memory --- */

static ptrdiff_t on_read(void *handle, void *to, ptrdiff_t n)
{
	struct reader *r = handle;
	uint64_t left = r->at < r->size ? r->size - r->at : 0, take = MIN((uint64_t)MAX(n, 0), left);

	memcpy(to, r->data + r->at, take);
	r->at += take;
	return (ptrdiff_t)take;
}

static ptrdiff_t on_write(void *handle, void *from, ptrdiff_t n)
{
	(void)handle;
	(void)from;
	(void)n;
	return -1;
}

static uint64_t on_seek(void *handle, uint64_t to, int whence)
{
	struct reader *r = handle;

	r->at = whence == SEEK_SET ? to : (whence == SEEK_CUR ? r->at : r->size) + to;
	return r->at;
}

static int on_close(void *handle)
{
	(void)handle;
	return 0;
}

static uint64_t on_size(void *handle)
{
	return ((struct reader *)handle)->size;
}

/* libtiff reads what is mapped where it lies; what is not, libtiff 4.5 reads less of: of tiles without compression but some. */
static int on_map(void *handle, void **data, uint64_t *size)
{
	const struct reader *r = handle;

	*data = (void *)r->data;
	*size = r->size;
	return 1;
}

static void on_unmap(void *handle, void *data, uint64_t size)
{
	(void)handle;
	(void)data;
	(void)size;
}

/* --- a picture --- */

static void *tiff_create(void)
{
	return xcalloc(1, sizeof(struct reader));
}

static void tiff_shut(struct reader *r)
{
	if (r->file)
		tiff.Close(r->file);
	r->file = NULL;
}

static void tiff_dispose(void *state)
{
	tiff_shut(state);
	free(state);
}

/* libtiff would multiply colours by alpha that is not associated with them; called associated they come as they are. */
static void keep_colours(struct reader *r)
{
	uint16_t count = 0, *kinds = NULL, ours[EXTRAS] = { ASSOCIATED };

	if (!tiff.GetFieldDefaulted(r->file, TAG_EXTRASAMPLES, &count, &kinds) || count < 1 || count > EXTRAS || !kinds)
		return;
	r->multiplied = kinds[0] == ASSOCIATED;
	if (kinds[0] != UNASSOCIATED)
		return;
	memcpy(ours + 1, kinds + 1, (count - 1) * sizeof(*ours));
	tiff.SetField(r->file, TAG_EXTRASAMPLES, count, ours);
}

/* Whether libtiff can read it, and would not take much more memory for a part of it than for all. */
static int check_parts(const struct reader *r)
{
	ptrdiff_t part = tiff.IsTiled(r->file) ? tiff.TileSize(r->file) : tiff.StripSize(r->file);
	char why[1024] = "";

	if (!tiff.RGBAImageOK(r->file, why))
		return fail("libtiff says '%.200s'", why);
	if (part < 1 || part > (ptrdiff_t)PICTURE_PIXELS * 4)
		return fail("it claims parts of %lld bytes", (long long)part);
	return 0;
}

static int tiff_open(void *state, const uint8_t *data, size_t size, int *w, int *h)
{
	struct reader *r = state;
	uint32_t wide = 0, high = 0;

	tiff_shut(r);
	*r = (struct reader){ .data = data, .size = size };
	fail("libtiff finds no image in it");
	r->file = tiff.ClientOpen("", "r", r, on_read, on_write, on_seek, on_close, on_size, on_map, on_unmap);
	if (!r->file)
		return -1;
	tiff.GetFieldDefaulted(r->file, TAG_WIDTH, &wide);
	tiff.GetFieldDefaulted(r->file, TAG_HEIGHT, &high);
	tiff.GetFieldDefaulted(r->file, TAG_ORIENTATION, &r->orientation);
	if (picture_check_size(wide, high) < 0 || check_parts(r) < 0)
		return -1;
	keep_colours(r);
	*w = r->w = (int)wide;
	*h = r->h = (int)high;
	return 0;
}

static int tiff_orientation(const void *state)
{
	const struct reader *r = state;

	return r->orientation >= 1 && r->orientation <= 8 ? r->orientation : 1;
}

/* A colour without the alpha that it was multiplied by, as Pillow finds it. */
static uint8_t divide(uint32_t colour, uint32_t alpha)
{
	return (uint8_t)(alpha ? MIN(colour * 255 / alpha, 255) : 0);
}

static void take_pixels(const struct reader *r, const uint32_t *pixels, uint8_t *rgb)
{
	for (size_t i = 0; i < (size_t)r->w * r->h; i++)
		for (int c = 0; c < 3; c++) {
			uint32_t v = pixels[i] >> 8 * c & 255;

			rgb[i * 3 + c] = r->multiplied ? divide(v, pixels[i] >> 24) : (uint8_t)v;
		}
}

static int tiff_read(void *state, struct box window, struct picture *p)
{
	struct reader *r = state;
	uint32_t *pixels = xmalloc((size_t)r->w * r->h * sizeof(*pixels));
	bool good;

	(void)window; /* a page is small or is packed: the whole is read */
	fail("libtiff says that it is damaged");
	/* asked for in its own orientation the image comes as it is stored: the decoder turns it, which libtiff cannot in full */
	good = tiff.ReadRGBAImageOriented(r->file, (uint32_t)r->w, (uint32_t)r->h, pixels, tiff_orientation(r), 1);
	if (good) {
		picture_shape(p, (struct box){ 0, 0, r->w, r->h });
		take_pixels(r, pixels, p->rgb);
	}
	free(pixels);
	tiff_shut(r);
	return good ? 0 : -1;
}

const struct codec codec_tiff = {
	{ "tiff", "grey, palette, colour, CMYK, YCbCr, 1 to 16 bits, alpha dropped, turned as it says, first page", NULL },
	{ { 0, 4, "II*\0" }, { 0, 4, "MM\0*" }, { 0, 4, "II+\0" }, { 0, 4, "MM\0+" } }, "tif",
	tiff_create, tiff_dispose, tiff_open, NULL, tiff_read, tiff_orientation, &library,
};
