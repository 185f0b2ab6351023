#include "lib/image/decoder.h"

#include "lib/image/codec.h"
#include "lib/image/exif.h"
#include "lib/image/kinds.h"
#include "lib/image/late.h"

static const struct codec *const codecs[] = { &codec_jpeg, &codec_png, &codec_webp, &codec_heic, &codec_avif, &codec_tiff };

struct decoder {
	void *states[ARRAY_SIZE(codecs)];
	int codec;              /* of the open blob; -1: raw pixels */
	struct blob blob;
	int w, h;
	bool upright;           /* files are turned as their EXIF says... */
	int orientation;        /* ...or their format, which is this for the open blob... */
	struct picture raw;     /* ...and this was before turning */
};

struct decoder *decoder_new(void)
{
	struct decoder *d = xcalloc(1, sizeof(*d));

	for (size_t i = 0; i < ARRAY_SIZE(codecs); i++)
		d->states[i] = codecs[i]->create();
	return d;
}

void decoder_free(struct decoder *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(codecs); i++)
		codecs[i]->destroy(d->states[i]);
	picture_release(&d->raw);
	free(d);
}

void decoder_set_upright(struct decoder *d, bool upright)
{
	d->upright = upright;
}

void decoder_set_fast(struct decoder *d, int least)
{
	for (size_t i = 0; i < ARRAY_SIZE(codecs); i++)
		if (codecs[i]->hurry)
			codecs[i]->hurry(d->states[i], least);
}

static bool is_of(const struct codec *c, const struct blob *b)
{
	for (const struct magic *m = c->magics; m < c->magics + ARRAY_SIZE(c->magics) && m->size; m++)
		if (b->size >= (size_t)m->at + m->size && memcmp(b->data + m->at, m->bytes, m->size) == 0)
			return true;
	return false;
}

static int find_codec(const struct blob *b)
{
	const char *kind;

	for (size_t i = 0; i < ARRAY_SIZE(codecs); i++)
		if (is_of(codecs[i], b))
			return (int)i;
	if (b->size == 0)
		return fail("it is empty");
	kind = kind_of_bytes(b->data, b->size);
	return fail("it is %s%sneither JPEG, PNG, WebP, HEIC, AVIF nor TIFF", kind ? kind : "", kind ? ", " : "");
}

/* Opens a file by the codec of its kind. */
static int open_file(struct decoder *d)
{
	const struct blob *b = &d->blob;
	const struct codec *c;
	void *state;

	d->codec = find_codec(b);
	if (d->codec < 0)
		return -1;
	c = codecs[d->codec];
	state = d->states[d->codec];
	if (c->library && late_open(c->library) < 0)
		return fail("it is %s, and %s", kind_of_bytes(b->data, b->size), why());
	if (c->open(state, b->data, b->size, &d->w, &d->h) < 0)
		return -1;
	d->orientation = c->orientation ? c->orientation(state) : d->upright ? exif_orientation(b->data, b->size) : 1;
	return 0;
}

int decoder_open(struct decoder *d, const struct blob *b, int *w, int *h)
{
	d->blob = *b;
	d->codec = -1;
	d->orientation = 1;
	d->w = b->w;
	d->h = b->h;
	if (b->kind == BLOB_FILE && open_file(d) < 0)
		return -1;
	*w = exif_swaps(d->orientation) ? d->h : d->w;
	*h = exif_swaps(d->orientation) ? d->w : d->h;
	return 0;
}

static void read_raw(const struct blob *b, struct picture *p)
{
	size_t n = (size_t)b->w * b->h, plane = b->kind == BLOB_GREY ? 0 : n;
	const uint8_t *s = b->data;

	picture_shape(p, (struct box){ 0, 0, b->w, b->h });
	for (size_t i = 0; i < n; i++) {
		p->rgb[i * 3] = s[i];
		p->rgb[i * 3 + 1] = s[i + plane];
		p->rgb[i * 3 + 2] = s[i + 2 * plane];
	}
}

void decoder_note_formats(void)
{
	char text[256] = "reads";
	size_t n = strlen(text);

	for (size_t i = 0; i < ARRAY_SIZE(codecs); i++, n = strlen(text)) {
		const struct codec *c = codecs[i];

		if (!c->library)
			format(text + n, sizeof(text) - n, "%s %s", i ? "," : "", c->entry.name);
		else if (late_open(c->library) == 0)
			format(text + n, sizeof(text) - n, ", %s (%s)", c->entry.name, c->library->found);
	}
	note("%s", text);
	for (size_t i = 0; i < ARRAY_SIZE(codecs); i++)
		if (codecs[i]->library && late_open(codecs[i]->library) < 0)
			note("reads no %s: %s", codecs[i]->entry.name, why());
}

const char *decoder_extension(const struct decoder *d)
{
	return d->codec >= 0 ? codecs[d->codec]->extension : "";
}

/* Reads the window of the picture as it is stored. */
static int read_stored(struct decoder *d, struct box window, struct picture *p)
{
	if (window.x < 0 || window.y < 0 || window.w < 1 || window.h < 1 || window.x > d->w - window.w ||
	    window.y > d->h - window.h)
		bug("window %d,%d %dx%d of a %dx%d picture", window.x, window.y, window.w, window.h, d->w, d->h);
	if (d->codec >= 0)
		return codecs[d->codec]->read(d->states[d->codec], window, p);
	read_raw(&d->blob, p);
	return 0;
}

int decoder_read(struct decoder *d, struct box window, struct picture *p)
{
	if (d->orientation == 1)
		return read_stored(d, window, p);
	if (read_stored(d, exif_raw_box(d->orientation, window, d->w, d->h), &d->raw) < 0)
		return -1;
	exif_turn(d->orientation, &d->raw, d->w, d->h, p);
	return 0;
}
