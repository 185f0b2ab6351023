#include "lib/image/recipe.h"

#include <math.h>

#include "lib/base/rng.h"

static const float imagenet[2][3] = { { 0.485f, 0.456f, 0.406f }, { 0.229f, 0.224f, 0.225f } };
static const float cifar[2][3] = { { 0.4914f, 0.4822f, 0.4465f }, { 0.2023f, 0.1994f, 0.2010f } };

/* The parameters of a recipe, in the order of enum law_key. */
#define LAW(scale, jitter, b, c, s, h, grey, blur, solarise, flip)                                                        \
	(const struct param[]){                                                                                           \
		{ "scale", scale, 0.0001, 1, "share of the area in a crop: smallest, or smallest-greatest", param_range }, \
		{ "jitter", jitter, 0, 1, "probability of the four jitters", NULL },                                      \
		{ "brightness", b, 0, 10, "strength", NULL },                                                             \
		{ "contrast", c, 0, 10, "strength", NULL },                                                               \
		{ "saturation", s, 0, 10, "strength", NULL },                                                             \
		{ "hue", h, 0, 0.5, "strength in turns", NULL },                                                          \
		{ "grey", grey, 0, 1, "probability", NULL },                                                              \
		{ "blur", blur, 0, 1, "probability, sigma 0.1 to 2", NULL },                                              \
		{ "solarise", solarise, 0, 1, "probability", NULL },                                                      \
		{ "flip", flip, 0, 1, "probability", NULL },                                                              \
		{ "bicubic", 0, 0, 1, "1: bicubic, 0: bilinear", NULL },                                                  \
		{ "hide", 0, 0, 1, "probability of a cell of Hide-and-Seek", NULL, true },                                 \
		{ NULL, 0, 0, 0, NULL, NULL } }

static const struct param eval_params[] = {
	{ "bicubic", 0, 0, 1, "1: bicubic, 0: bilinear", NULL },
	{ "short", 0, 0, 65500, "short side before the centre crop; 0: 256/224 of the size from 128 on, else the size", NULL },
	{ NULL, 0, 0, 0, NULL, NULL },
};

static const struct recipe recipes[] = {
	{ { "mocov2", "MoCo v2, Chen et al. 2020", LAW(0.2, 0.8, 0.4, 0.4, 0.4, 0.1, 0.2, 0.5, 0, 0.5) },
	  FRAME_RANDOM, 224, imagenet, { { 0, 0 } } },
	{ { "ssl-small", "stronger colour for small models, Shi et al. 2022",
	    LAW(0.2, 0.8, 0.8, 0.8, 0.8, 0.4, 0.5, 0.5, 0, 0.5) },
	  FRAME_RANDOM, 224, imagenet, { { 0, 0 } } },
	{ { "simclr", "SimCLR, Chen et al. 2020", LAW(0.08, 0.8, 0.8, 0.8, 0.8, 0.2, 0.2, 0.5, 0, 0.5) },
	  FRAME_RANDOM, 224, imagenet, { { 0, 0 } } },
	{ { "byol", "BYOL, Grill et al. 2020; odd views: blur .1, solarise .2",
	    LAW(0.08, 0.8, 0.4, 0.4, 0.2, 0.1, 0.2, 1, 0, 0.5) },
	  FRAME_RANDOM, 224, imagenet, { { LAW_BLUR, 0.1 }, { LAW_SOLARISE, 0.2 } } },
	{ { "moco-cifar", "MoCo's CIFAR-10 demo", LAW(0.08, 0.8, 0.4, 0.4, 0.4, 0.1, 0.2, 0, 0, 0.5) },
	  FRAME_RANDOM, 32, cifar, { { 0, 0 } } },
	{ { "linear", "crop and flip, for supervised heads", LAW(0.08, 0, 0, 0, 0, 0, 0, 0, 0, 0.5) },
	  FRAME_RANDOM, 224, imagenet, { { 0, 0 } } },
	{ { "eval", "the centre of the picture, nothing random", eval_params },
	  FRAME_CENTRE, 224, imagenet, { { 0, 0 } } },
};
const struct table recipe_table = TABLE("recipe", recipes);

const struct recipe *recipe_of(const struct choice *c)
{
	return (const struct recipe *)c->entry;
}

struct choice recipe_eval(const struct choice *c)
{
	struct choice eval;

	if (recipe_of(c)->frame == FRAME_CENTRE)
		return *c;
	if (choice_parse(&eval, &recipe_table, choice_value(c, "bicubic") != 0 ? "eval:bicubic=1" : "eval") < 0)
		bug("the recipe eval is missing");
	return eval;
}

struct law recipe_law(const struct choice *c, int view)
{
	const struct recipe *r = recipe_of(c);
	struct law law = { .frame = r->frame };

	if (r->frame == FRAME_CENTRE) {
		law.v[LAW_BICUBIC] = choice_value(c, "bicubic");
		law.v[LAW_SHORT] = choice_value(c, "short");
		return law;
	}
	for (int k = 0; k < LAW_PARAMS; k++)
		law.v[k] = c->value[k];
	law.v[LAW_SCALE_MOST] = c->most[LAW_SCALE];
	for (size_t i = 0; view % 2 == 1 && i < ARRAY_SIZE(r->odd); i++)
		if (r->odd[i].value > 0 && !c->given[r->odd[i].key])
			law.v[r->odd[i].key] = r->odd[i].value;
	return law;
}

void recipe_fill(const float mean[3], uint8_t fill[3])
{
	for (int c = 0; c < 3; c++)
		fill[c] = (uint8_t)lrintf(mean[c] * 255);
}

/* --- drawing --- */

static void shuffle4(struct rng *r, int order[4])
{
	for (int i = 0; i < 4; i++)
		order[i] = i;
	for (int i = 3; i > 0; i--) {
		int j = (int)rng_below(r, i + 1), t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
}

/* Every number is drawn whether it will be used or not, so that changing one probability leaves the other draws alone. */
static void draw_colour(struct rng *r, const struct law *law, struct draw *d)
{
	d->jitter = rng_uniform(r) < law->v[LAW_JITTER];
	for (int i = 0; i < 3; i++) {
		double x = law->v[LAW_BRIGHTNESS + i];

		d->factor[i] = (float)rng_between(r, MAX(0, 1 - x), 1 + x);
	}
	d->factor[3] = (float)rng_between(r, -law->v[LAW_HUE], law->v[LAW_HUE]);
	shuffle4(r, d->order);
	d->grey = rng_uniform(r) < law->v[LAW_GREY];
	d->sigma = (float)rng_between(r, 0.1, 2);
	if (rng_uniform(r) >= law->v[LAW_BLUR])
		d->sigma = 0;
	d->solarise = rng_uniform(r) < law->v[LAW_SOLARISE];
	d->flip = rng_uniform(r) < law->v[LAW_FLIP];
}

/* Hide-and-Seek (Singh and Lee 2017) as Shi et al. 2022 drew it for views of 224 pixels: no grid, or cells of 14, 28 or 56, each
 * hidden by a draw of its own. These are a sixteenth, an eighth, a quarter of the side. */
static void draw_hidden(struct rng r, double p, struct draw *d)
{
	static const int grids[4] = { 0, 16, 8, 4 };

	d->cells = grids[rng_below(&r, 4)];
	for (int i = 0; i < d->cells * d->cells; i++)
		if (rng_uniform(&r) < p)
			d->hidden[i / 64] |= 1ULL << i % 64;
}

/* The whole picture, or the largest centred part of it whose ratio is allowed. */
static struct box fallback_crop(int w, int h)
{
	double ratio = (double)w / h;
	struct box b = { 0, 0, w, h };

	if (ratio < 3.0 / 4)
		b.h = (int)nearbyint(w / (3.0 / 4));
	else if (ratio > 4.0 / 3)
		b.w = (int)nearbyint(h * (4.0 / 3));
	b.x = (w - b.w) / 2;
	b.y = (h - b.h) / 2;
	return b;
}

/* Inception's crop as torchvision draws it: area and logarithm of the ratio uniform, ten tries to fit. */
static struct box random_crop(struct rng *r, const struct law *law, int w, int h)
{
	for (int attempt = 0; attempt < 10; attempt++) {
		double area = (double)w * h * rng_between(r, law->v[LAW_SCALE], law->v[LAW_SCALE_MOST]);
		double ratio = exp(rng_between(r, log(3.0 / 4), log(4.0 / 3)));
		struct box b = { 0, 0, (int)nearbyint(sqrt(area * ratio)), (int)nearbyint(sqrt(area / ratio)) };

		if (b.w < 1 || b.h < 1 || b.w > w || b.h > h)
			continue;
		b.x = (int)rng_below(r, w - b.w + 1);
		b.y = (int)rng_below(r, h - b.h + 1);
		return b;
	}
	return fallback_crop(w, h);
}

/* Resize(short) and CenterCrop(size), as torchvision rounds them. A picture of exactly size x size is left as it is. */
static void centre_frame(const struct law *law, int size, int w, int h, struct draw *d)
{
	int by_size = size < 128 ? size : (int)nearbyint(size * 256 / 224.0);
	int side = law->v[LAW_SHORT] > 0 ? MAX((int)law->v[LAW_SHORT], size) : by_size;

	if (w == size && h == size)
		side = size;
	d->crop = (struct box){ 0, 0, w, h };
	d->out_w = w <= h ? side : (int)((int64_t)side * w / h);
	d->out_h = w <= h ? (int)((int64_t)side * h / w) : side;
	d->part = (struct box){ (int)nearbyint((d->out_w - size) / 2.0), (int)nearbyint((d->out_h - size) / 2.0), size, size };
}

struct draw recipe_draw(const struct view_spec *spec, uint64_t seed, uint32_t epoch, uint32_t sample, int view, int w, int h)
{
	const struct law *law = &spec->law;
	int size = spec->size;
	struct draw d = { .bicubic = law->v[LAW_BICUBIC] != 0, .out_w = size, .out_h = size, .part = { 0, 0, size, size } };
	struct rng r = rng_at(seed, epoch, sample, (uint16_t)view, RNG_AUGMENT);

	if (law->frame == FRAME_CENTRE) {
		centre_frame(law, size, w, h, &d);
		return d;
	}
	draw_colour(&r, law, &d);
	d.crop = random_crop(&r, law, w, h);
	if (law->v[LAW_HIDE] > 0)
		draw_hidden(rng_at(seed, epoch, sample, (uint16_t)view, RNG_HIDE), law->v[LAW_HIDE], &d);
	memcpy(d.fill, spec->fill, sizeof(d.fill));
	return d;
}
