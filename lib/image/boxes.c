#include "lib/image/boxes.h"

#include <math.h>

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

struct box boxes_crop(struct rng *r, const double share[2], int w, int h)
{
	for (int attempt = 0; attempt < 10; attempt++) {
		double area = (double)w * h * rng_between(r, share[0], share[1]);
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

/* --- pairs --- */

struct box boxes_shared(struct box a, struct box b)
{
	int x = MAX(a.x, b.x), y = MAX(a.y, b.y);

	return (struct box){ x, y, MAX(MIN(a.x + a.w, b.x + b.w) - x, 0), MAX(MIN(a.y + a.h, b.y + b.h) - y, 0) };
}

static double area(struct box b)
{
	return (double)b.w * b.h;
}

double boxes_iou(struct box a, struct box b)
{
	double both = area(boxes_shared(a, b));

	return both / (area(a) + area(b) - both);
}

/* How far a pair is from what is asked for; 0: it is that. */
static double distance(const struct box pair[2], const double iou[2])
{
	double x = boxes_iou(pair[0], pair[1]), off = MAX(MAX(iou[0] - x, x - iou[1]), 0);
	double both = area(boxes_shared(pair[0], pair[1]));

	return both == area(pair[0]) || both == area(pair[1]) ? 1 + off : off;
}

bool boxes_pair(struct rng *r, const double share[2], const double iou[2], int w, int h, struct box pair[2])
{
	double least = INFINITY;

	for (int i = 0; i < BOXES_TRIES && least > 0; i++) {
		struct box one[2];
		double off;

		for (int k = 0; k < 2; k++)
			one[k] = boxes_crop(r, share, w, h);
		off = distance(one, iou);
		if (off >= least)
			continue;
		least = off;
		memcpy(pair, one, sizeof(one));
	}
	return least == 0;
}

/* --- mixed views --- */

static int clip(int x, int most)
{
	return MIN(MAX(x, 0), most);
}

/* The middle one of three uniform numbers has the law Beta(2, 2). */
struct box boxes_cut(struct rng *r, int side)
{
	double u = rng_uniform(r), v = rng_uniform(r), w = rng_uniform(r), lam = MAX(MIN(u, v), MIN(MAX(u, v), w));
	int half = (int)(side * sqrt(1 - lam)) / 2, x = (int)rng_below(r, side), y = (int)rng_below(r, side);
	struct box b = { clip(x - half, side), clip(y - half, side), clip(x + half, side), clip(y + half, side) };

	b.w -= b.x;
	b.h -= b.y;
	return b;
}
