/*
 * recipe.h - augmentation recipes as rows of numbers, and the parameters that one view draws from them
 *
 * Drawing and applying are apart: recipe_draw() is a pure function of (seed, epoch, sample, view) and the picture's size,
 * view_apply() (view.h) one of picture and draw. So a test can draw here, apply in Pillow and compare bytes. What concerns a
 * pair, views 2i and 2i + 1, is drawn at the number of its first, so that either view knows of both.
 *
 * The order is MoCo v2's (Chen et al. 2020): random resized crop, jitter of brightness, contrast, saturation and hue in random
 * order, grey, blur, solarise, flip; then what is hidden (cover.h). A recipe names a law: every probability and strength, as
 * --recipe list shows them. BYOL's two views differ, so a recipe may change some numbers for odd views; a number given on the
 * command line holds for all views.
 *
 *	struct choice c;
 *	choice_parse(&c, &recipe_table, "mocov2:scale=0.08,blur=0");
 *	struct view_spec spec = { .size = 224, .law = recipe_law(&c, 1) };            of view 1
 *	struct draw d = recipe_draw(&spec, seed, epoch, sample, 1, width, height);
 *
 * To add a recipe: add its row to recipes[] in recipe.c.
 */
#ifndef IMAGE_RECIPE_H
#define IMAGE_RECIPE_H

#include "lib/base/options.h"
#include "lib/image/picture.h"

/* Numbers of a law, in the order of the parameters. */
enum law_key {
	LAW_SCALE,       /* crops hold at least this share of the picture's area, */
	LAW_JITTER,      /* probability of the four that follow */
	LAW_BRIGHTNESS,  /* factor 1 - x to 1 + x, not below 0 */
	LAW_CONTRAST,
	LAW_SATURATION,
	LAW_HUE,         /* turn of -x to x */
	LAW_GREY,        /* probabilities */
	LAW_BLUR,
	LAW_SOLARISE,
	LAW_FLIP,
	LAW_BICUBIC,     /* 1: bicubic resampling, 0: bilinear */
	LAW_HIDE,        /* probability of each cell of the grid of Hide-and-Seek; 0: no grid is drawn */
	LAW_IOU,         /* pairs of crops have at least this intersection over union, */
	LAW_MIX,         /* this is the probability of a pair that has; another one is as it comes */
	LAW_DROP,        /* probability of hiding what the crops of a pair share */
	LAW_PARAMS,
	LAW_SHORT = LAW_PARAMS, /* centre crops: short side before the crop, 0: by size */
	LAW_SCALE_MOST,  /* and at most this one */
	LAW_IOU_MOST,    /* likewise */
	LAW_KEYS
};

enum frame {
	FRAME_RANDOM,    /* random resized crop, ratio 3/4 to 4/3 */
	FRAME_CENTRE,    /* resize the short side, keep the centre */
};

struct law {
	enum frame frame;
	double v[LAW_KEYS];
};

/* What one view is. */
struct view_spec {
	int size;        /* pixels a side */
	struct law law;
	uint8_t fill[3]; /* what stands for what is hidden: recipe_fill() */
	bool paired;     /* with view ^ 1, which is of the same size and law */
	bool mixed;      /* of the two views of: the first with a box of the second */
	int of[2];
};

struct recipe {
	struct entry entry;
	enum frame frame;
	int size;                                /* pixels a side unless --size says otherwise */
	const float (*stats)[3];                 /* mean and std of the channels, for normalisation further down */
	struct {
		enum law_key key;
		double value;
	} odd[2];                                /* what differs in odd views; a zero row changes nothing */
};

extern const struct table recipe_table;
const struct recipe *recipe_of(const struct choice *c);
/* The recipe of view0 in evaluation: c itself where nothing in it is random, else eval, resizing as c does. */
struct choice recipe_eval(const struct choice *c);
struct law recipe_law(const struct choice *c, int view);
/* Whether a law bounds the IoU of pairs; whether it asks anything of pairs at all. */
bool recipe_bounds(const struct law *law);
bool recipe_pairs(const struct law *law);

/* The bytes nearest to the mean of the channels, 0 to 1: close to zero once they are normalised. */
void recipe_fill(const float mean[3], uint8_t fill[3]);

enum pairing {
	PAIR_NONE,       /* nothing is asked of pairs */
	PAIR_PLAIN,      /* the crops are as they come */
	PAIR_BOUNDED,    /* their IoU is as asked for */
	PAIR_MISSED,     /* no try had that IoU, these came closest */
};

/* Everything that happens to a picture on its way to a view. */
struct draw {
	struct box crop;                         /* in the picture... */
	int out_w, out_h;                        /* ...resized to this... */
	struct box part;                         /* ...of which this is kept: size x size */
	bool bicubic, jitter, grey, solarise, flip;
	int order[4];                            /* of the factors: 0 brightness, 1 contrast, 2 saturation, 3 hue */
	float factor[4];
	float sigma;                             /* of the blur; 0: none */
	int cells;                               /* a side of the grid: 16, 8 or 4; 0: none */
	uint64_t hidden[4];                      /* bit y * cells + x of them: cell (x, y) of the view as served */
	uint8_t fill[3];
	enum pairing pairing;
	float iou;                               /* of the crops of the pair */
	struct box shared;                       /* the part of the view as served that is hidden for being in both */
	struct box cut;                          /* of a mixed view, of which nothing else is drawn: where the second view is, */
	float share;                             /* and which share of the pixels is the first one's */
	int member;                              /* the sample that it is of, where that is one of a bag; -1 */
};

/* Parameters of one view of a w x h picture. */
struct draw recipe_draw(const struct view_spec *spec, uint64_t seed, uint32_t epoch, uint32_t sample, int view, int w, int h);

#endif
