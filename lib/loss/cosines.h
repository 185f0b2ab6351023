/*
 * cosines.h - objectives of cosines between outputs of two views and targets that no gradient goes to
 *
 *	objective's inputs: x0 x1 t0 t1        mean over both directions and the rows of <u(x0), u(t1)> and <u(x1), u(t0)>
 */
#ifndef LOSS_COSINES_H
#define LOSS_COSINES_H

#include "lib/loss/loss.h"

/* Room for it, all of one width. 0, or -1 after fail(). */
int cosines_prepare(struct objective *o);
/* The mean; weight times its gradient is added to those of x0 and x1. */
double cosines_crossed(struct objective *o, double weight);

#endif
