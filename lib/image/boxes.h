/*
 * boxes.h - random crops of a picture, pairs of them, and what they share
 *
 *	struct box crop = boxes_crop(&r, (const double[]){ 0.2, 1 }, w, h);
 *	struct box pair[2];
 *	bool met = boxes_pair(&r, (const double[]){ 0.2, 1 }, (const double[]){ 1e-4, 0.05 }, w, h, pair);
 */
#ifndef IMAGE_BOXES_H
#define IMAGE_BOXES_H

#include "lib/base/rng.h"
#include "lib/image/picture.h"

/* Inception's crop as torchvision draws it: area, a share of w x h within the range, and logarithm of the ratio, 3/4 to 4/3, both
 * uniform; ten tries to fit, then the largest centred part whose ratio is allowed. */
struct box boxes_crop(struct rng *r, const double share[2], int w, int h);

enum { BOXES_TRIES = 500 };
/* Two such crops, neither of which holds the other, whose intersection over union is within the range (the views of
 * Shi et al. 2022 with less overlap): the first of BOXES_TRIES. Whether there was one; else the pair that came closest, one of
 * those that hold each other only where all do. */
bool boxes_pair(struct rng *r, const double share[2], const double iou[2], int w, int h, struct box pair[2]);

/* CutMix's box in a view of side x side (Yun et al. 2019): of side int(side sqrt(1 - lam)) around a uniform pixel, clipped, where
 * lam ~ Beta(2, 2) as in BINGO (Xu et al. 2022). */
struct box boxes_cut(struct rng *r, int side);

struct box boxes_shared(struct box a, struct box b);   /* without area where they share nothing */
double boxes_iou(struct box a, struct box b);

#endif
