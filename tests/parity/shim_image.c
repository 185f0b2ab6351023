/* shim_image.c - lib/image through plain arguments, for tests that compare with Pillow and torchvision */
#include "lib/image/colour.h"
#include "lib/image/decoder.h"
#include "lib/image/view.h"

int image_size(const uint8_t *data, size_t size, int wh[2]);
int image_size_as(const uint8_t *data, size_t size, bool exif, int wh[2]);
int image_decode_as(const uint8_t *data, size_t size, bool exif, int x, int y, int w, int h, uint8_t *rgb);
int image_decode(const uint8_t *data, size_t size, int x, int y, int w, int h, uint8_t *rgb);
int decode_again(struct decoder *d, const uint8_t *data, size_t size);
int image_decode_fast(const uint8_t *data, size_t size, int least, const int box[4], int wh[2], uint8_t *rgb);
void image_resample(const uint8_t *rgb, int w, int h, const int box[4], int bicubic, int out_w, int out_h, const int part[4],
		    uint8_t *out);
void image_colour(int op, float f, uint8_t *rgb, int w, int h);
void image_blur(float sigma, uint8_t *rgb, int w, int h);
int image_draw(const char *recipe, int size, int64_t seed, int epoch, int sample, int view, int w, int h, struct draw *d);
int image_view(const uint8_t *data, size_t size, const struct draw *d, uint8_t *out);

int image_size_as(const uint8_t *data, size_t size, bool exif, int wh[2])
{
	struct decoder *d = decoder_new();
	struct blob b = { .kind = BLOB_FILE, .data = data, .size = size };
	int r;

	decoder_set_upright(d, exif);
	r = decoder_open(d, &b, &wh[0], &wh[1]);
	decoder_free(d);
	return r;
}

int image_size(const uint8_t *data, size_t size, int wh[2])
{
	return image_size_as(data, size, false, wh);
}

int image_decode_as(const uint8_t *data, size_t size, bool exif, int x, int y, int w, int h, uint8_t *rgb)
{
	struct decoder *d = decoder_new();
	struct blob b = { .kind = BLOB_FILE, .data = data, .size = size };
	struct picture p = PICTURE_INIT;
	int all_w, all_h, r;

	decoder_set_upright(d, exif);
	r = decoder_open(d, &b, &all_w, &all_h);
	if (r == 0)
		r = decoder_read(d, (struct box){ x, y, w, h }, &p);
	for (int i = 0; r == 0 && i < h; i++)
		memcpy(rgb + (size_t)i * w * 3, picture_at(&p, x, y + i), (size_t)w * 3);
	picture_release(&p);
	decoder_free(d);
	return r;
}

int image_decode(const uint8_t *data, size_t size, int x, int y, int w, int h, uint8_t *rgb)
{
	return image_decode_as(data, size, false, x, y, w, h, rgb);
}

/* The middle of a file, by a decoder that is used for many. */
int decode_again(struct decoder *d, const uint8_t *data, size_t size)
{
	static struct picture p = PICTURE_INIT;
	struct blob b = { .kind = BLOB_FILE, .data = data, .size = size };
	int w, h;

	if (decoder_open(d, &b, &w, &h) < 0)
		return -1;
	return decoder_read(d, (struct box){ w / 4, h / 4, MAX(w / 2, 1), MAX(h / 2, 1) }, &p);
}

/* Decodes coarsely; box NULL gives the size alone. */
int image_decode_fast(const uint8_t *data, size_t size, int least, const int box[4], int wh[2], uint8_t *rgb)
{
	struct decoder *d = decoder_new();
	struct blob b = { .kind = BLOB_FILE, .data = data, .size = size };
	struct picture p = PICTURE_INIT;
	int r;

	decoder_set_fast(d, least);
	r = decoder_open(d, &b, &wh[0], &wh[1]);
	if (r == 0 && box)
		r = decoder_read(d, (struct box){ box[0], box[1], box[2], box[3] }, &p);
	for (int i = 0; r == 0 && box && i < box[3]; i++)
		memcpy(rgb + (size_t)i * box[2] * 3, picture_at(&p, box[0], box[1] + i), (size_t)box[2] * 3);
	picture_release(&p);
	decoder_free(d);
	return r;
}

void image_resample(const uint8_t *rgb, int w, int h, const int box[4], int bicubic, int out_w, int out_h, const int part[4],
		    uint8_t *out)
{
	struct resampler s = RESAMPLER_INIT;
	struct planes p = PLANES_INIT;

	(void)h;
	resample(&s, rgb + ((size_t)box[1] * w + box[0]) * 3, (size_t)w * 3, box[2], box[3], bicubic, out_w, out_h,
		 (struct box){ part[0], part[1], part[2], part[3] }, &p);
	planes_interleave(&p, false, out);
	planes_release(&p);
	resampler_release(&s);
}

/* Resampling to the same size only splits the planes. */
static void split(const uint8_t *rgb, int w, int h, struct planes *p)
{
	struct resampler s = RESAMPLER_INIT;

	resample(&s, rgb, (size_t)w * 3, w, h, FILTER_BILINEAR, w, h, (struct box){ 0, 0, w, h }, p);
	resampler_release(&s);
}

void image_colour(int op, float f, uint8_t *rgb, int w, int h)
{
	struct planes p = PLANES_INIT;

	split(rgb, w, h, &p);
	switch (op) {
	case 0: colour_brightness(&p, f); break;
	case 1: colour_contrast(&p, f); break;
	case 2: colour_saturation(&p, f); break;
	case 3: colour_hue(&p, f); break;
	case 4: colour_grey(&p); break;
	case 5: colour_solarise(&p); break;
	}
	planes_interleave(&p, op == 6, rgb);
	planes_release(&p);
}

void image_blur(float sigma, uint8_t *rgb, int w, int h)
{
	struct planes p = PLANES_INIT;
	struct blur b = BLUR_INIT;

	split(rgb, w, h, &p);
	blur(&b, &p, sigma);
	planes_interleave(&p, false, rgb);
	planes_release(&p);
	blur_release(&b);
}

int image_draw(const char *recipe, int size, int64_t seed, int epoch, int sample, int view, int w, int h, struct draw *d)
{
	struct choice c;
	struct view_spec spec = { .size = size };

	if (choice_parse(&c, &recipe_table, recipe) < 0)
		return -1;
	spec.law = recipe_law(&c, view);
	spec.paired = true;
	recipe_fill(recipe_of(&c)->stats[0], spec.fill);
	*d = recipe_draw(&spec, seed, epoch, sample, view, w, h);
	return 0;
}

int image_view(const uint8_t *data, size_t size, const struct draw *d, uint8_t *out)
{
	struct decoder *decoder = decoder_new();
	struct blob b = { .kind = BLOB_FILE, .data = data, .size = size };
	struct picture p = PICTURE_INIT;
	struct studio s = STUDIO_INIT;
	int w, h, r = decoder_open(decoder, &b, &w, &h);

	if (r == 0)
		r = decoder_read(decoder, d->crop, &p);
	if (r == 0)
		view_apply(&s, &p, d, out);
	picture_release(&p);
	studio_release(&s);
	decoder_free(decoder);
	return r;
}
