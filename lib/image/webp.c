/* webp.c - WebP by libwebp, giving what Pillow's convert("RGB") gives: of an animation the first frame, alpha dropped */
#include "lib/image/codec.h"

#include <webp/decode.h>
#include <webp/demux.h>

struct webp {
	WebPDemuxer *file;      /* of the open image */
	int w, h;
};

static void *webp_create(void)
{
	return xcalloc(1, sizeof(struct webp));
}

static void webp_shut(struct webp *p)
{
	WebPDemuxDelete(p->file);
	p->file = NULL;
}

static void webp_dispose(void *state)
{
	webp_shut(state);
	free(state);
}

static int webp_open(void *state, const uint8_t *data, size_t size, int *w, int *h)
{
	struct webp *p = state;
	WebPDemuxState found;

	webp_shut(p);
	p->file = WebPDemuxPartial(&(WebPData){ data, size }, &found);
	if (!p->file || found != WEBP_DEMUX_DONE) {
		webp_shut(p);
		return fail(found == WEBP_DEMUX_PARSE_ERROR ? "libwebp says it is no WebP" : "it is truncated");
	}
	*w = p->w = (int)WebPDemuxGetI(p->file, WEBP_FF_CANVAS_WIDTH);
	*h = p->h = (int)WebPDemuxGetI(p->file, WEBP_FF_CANVAS_HEIGHT);
	return picture_check_size(p->w, p->h);
}

/* Decodes the first frame to its place on the canvas. */
static int decode_frame(const struct webp *p, const WebPIterator *frame, uint8_t *rgb)
{
	WebPDecoderConfig c;
	VP8StatusCode status;
	size_t pitch = (size_t)p->w * 3, at = frame->y_offset * pitch + (size_t)frame->x_offset * 3;

	if (!WebPInitDecoderConfig(&c))
		return fail("libwebp has another version than its header");
	c.output.colorspace = MODE_RGB;
	c.output.is_external_memory = 1;
	c.output.u.RGBA = (WebPRGBABuffer){ rgb + at, (int)pitch, pitch * p->h - at };
	status = WebPDecode(frame->fragment.bytes, frame->fragment.size, &c);
	return status == VP8_STATUS_OK ? 0 : fail("libwebp says it is damaged (status %d)", (int)status);
}

static int webp_read(void *state, struct box window, struct picture *p)
{
	struct webp *s = state;
	WebPIterator frame;
	int r;

	(void)window; /* decoding less would save little: the whole image is read */
	picture_shape(p, (struct box){ 0, 0, s->w, s->h });
	if (!WebPDemuxGetFrame(s->file, 1, &frame))
		return fail("it holds no image");
	if (frame.width < s->w || frame.height < s->h)
		memset(p->rgb, 0, (size_t)s->w * s->h * 3);
	r = decode_frame(s, &frame, p->rgb);
	WebPDemuxReleaseIterator(&frame);
	webp_shut(s);
	return r;
}

const struct codec codec_webp = {
	{ "webp", "lossy, lossless; alpha dropped; first frame", NULL }, { { 0, 4, "RIFF" } }, "webp",
	webp_create, webp_dispose, webp_open, NULL, webp_read,
};
