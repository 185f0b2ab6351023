/*
 * cross.h - cross-entropy of rows with labels, over classes: what every objective with labels shares
 *
 *	mean over the rows with a label of -sum_c y_c log softmax(x)_c,    y = smooth / C, and 1 - smooth more on the label
 */
#ifndef LOSS_CROSS_H
#define LOSS_CROSS_H

#include "lib/loss/loss.h"

struct cross {
	bool told;               /* whether a step without any label was noted */
	double first, five;      /* of the last: per cent of the rows with a label whose class is first, among the first five */
};

/* Of logits x f32 (rows, C) and labels i32 (rows), -1: none. Adds weight times its gradient to d (rows, C). *loss: 0 without any
 * label. 0, or -1 after fail(): a label is beyond the width. */
int cross_entropy(struct cross *c, const struct objective *o, const struct loss_input *x, const struct tensor *labels,
		  double smooth, double weight, double *loss);

#endif
