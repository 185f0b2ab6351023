/*
 * repulsion.h - what all points of a plane do to each: Barnes and Hut's tree, walked once for each leaf
 *
 * Points are sorted along a Z-shaped curve; a node is a stretch of them in one square. From a leaf, a square that is small as
 * seen from the leaf's box, side / distance < theta, counts as its points' mean; all points of the leaf share the list of what
 * is so found, over which a vector loop runs. The distance is to the nearest side of the box, so that the list is right for each
 * point. With theta 0 sums are exact.
 *
 *	struct repulsion *r = repulsion_new(n);
 *	double z = repulsion_run(r, y, 0.5, force);
 *	repulsion_free(r);
 *
 * Results do not depend on the number of threads.
 */
#ifndef PROBE_REPULSION_H
#define PROBE_REPULSION_H

#include "lib/base/base.h"

struct repulsion *repulsion_new(int64_t n);
void repulsion_free(struct repulsion *r);
/* With y (2, n), finite, and q = 1 / (1 + |y_i - y_j|^2): force (2, n) = sum over j of q^2 (y_i - y_j). Returns the sum of q over
 * all pairs i != j, each in both directions. */
double repulsion_run(struct repulsion *r, const float *y, double theta, float *force);

#endif
