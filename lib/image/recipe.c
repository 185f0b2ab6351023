#include "lib/image/recipe.h"

#include <math.h>

#include "lib/image/boxes.h"

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
		{ "hide", 0, 0, 1, "probability of a cell of Hide-and-Seek", NULL, true },                                \
		{ "iou", 0, 0, 1, "overlap of two views: smallest-greatest; 0: as it comes", param_range, true },         \
		{ "mix", 1, 0, 1, "probability of two views with that iou", NULL, true },                                 \
		{ "drop", 0, 0, 1, "probability of hiding what two views share", NULL, true },                            \
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
	law.v[LAW_IOU_MOST] = c->most[LAW_IOU];
	for (size_t i = 0; view % 2 == 1 && i < ARRAY_SIZE(r->odd); i++)
		if (r->odd[i].value > 0 && !c->given[r->odd[i].key])
			law.v[r->odd[i].key] = r->odd[i].value;
	return law;
}

bool recipe_bounds(const struct law *law)
{
	return law->frame == FRAME_RANDOM && (law->v[LAW_IOU] > 0 || law->v[LAW_IOU_MOST] < 1);
}

bool recipe_pairs(const struct law *law)
{
	return recipe_bounds(law) || law->v[LAW_DROP] > 0;
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

static struct box draw_crop(struct rng *r, const struct law *law, int w, int h)
{
	return boxes_crop(r, (const double[]){ law->v[LAW_SCALE], law->v[LAW_SCALE_MOST] }, w, h);
}

/* --- pairs --- */

/* The first of n pixels of a view whose centre is at x or behind, x of all length pixels of its crop. */
static int first_pixel(int64_t x, int n, int length)
{
	return (int)((2 * n * x + length - 1) / length / 2);
}

/* A part of the picture as the view shows it: the pixels whose centres lie in it. */
static struct box seen_part(struct box part, const struct draw *d)
{
	int x0 = first_pixel(part.x - d->crop.x, d->out_w, d->crop.w);
	int x1 = first_pixel(part.x + part.w - d->crop.x, d->out_w, d->crop.w);
	int y0 = first_pixel(part.y - d->crop.y, d->out_h, d->crop.h);
	int y1 = first_pixel(part.y + part.h - d->crop.y, d->out_h, d->crop.h);

	return (struct box){ d->flip ? d->out_w - x1 : x0, y0, x1 - x0, y1 - y0 };
}

/* r: of the pair; other: of the partner's view. d has been drawn as if there were no pair. */
static void draw_pair(struct rng r, struct rng other, const struct law *law, int view, int w, int h, struct draw *d)
{
	bool bounded = rng_uniform(&r) < law->v[LAW_MIX] && recipe_bounds(law), drop = rng_uniform(&r) < law->v[LAW_DROP];
	struct draw partner = *d;
	struct box pair[2], shared;

	d->pairing = PAIR_PLAIN;
	draw_colour(&other, law, &partner);
	pair[view % 2] = d->crop;
	pair[1 - view % 2] = draw_crop(&other, law, w, h);
	if (bounded)
		d->pairing = boxes_pair(&r, (const double[]){ law->v[LAW_SCALE], law->v[LAW_SCALE_MOST] },
					(const double[]){ law->v[LAW_IOU], law->v[LAW_IOU_MOST] }, w, h, pair) ?
				     PAIR_BOUNDED : PAIR_MISSED;
	d->crop = pair[view % 2];
	d->iou = (float)boxes_iou(pair[0], pair[1]);
	shared = boxes_shared(pair[0], pair[1]);
	if (drop && shared.w > 0 && shared.h > 0)
		d->shared = seen_part(shared, d);
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

static void draw_mixed(struct rng r, int size, struct draw *d)
{
	d->cut = boxes_cut(&r, size);
	d->share = (float)(1 - (double)d->cut.w * d->cut.h / ((double)size * size));
}

struct draw recipe_draw(const struct view_spec *spec, uint64_t seed, uint32_t epoch, uint32_t sample, int view, int w, int h)
{
	const struct law *law = &spec->law;
	int size = spec->size;
	struct draw d = { .bicubic = law->v[LAW_BICUBIC] != 0, .out_w = size, .out_h = size, .part = { 0, 0, size, size },
			  .member = -1 };
	struct rng r = rng_at(seed, epoch, sample, (uint16_t)view, RNG_AUGMENT);

	if (spec->mixed) {
		draw_mixed(rng_at(seed, epoch, sample, (uint16_t)view, RNG_MIX), size, &d);
		return d;
	}
	if (law->frame == FRAME_CENTRE) {
		centre_frame(law, size, w, h, &d);
		return d;
	}
	draw_colour(&r, law, &d);
	d.crop = draw_crop(&r, law, w, h);
	if (spec->paired && recipe_pairs(law))
		draw_pair(rng_at(seed, epoch, sample, (uint16_t)(view & ~1), RNG_PAIR),
			  rng_at(seed, epoch, sample, (uint16_t)(view ^ 1), RNG_AUGMENT), law, view, w, h, &d);
	if (law->v[LAW_HIDE] > 0)
		draw_hidden(rng_at(seed, epoch, sample, (uint16_t)view, RNG_HIDE), law->v[LAW_HIDE], &d);
	memcpy(d.fill, spec->fill, sizeof(d.fill));
	return d;
}
