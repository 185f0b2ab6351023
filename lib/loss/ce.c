/*
 * ce.c - cross-entropy of a head as wide as there are classes with labels, smoothed (Szegedy et al. 2016, sec. 7)
 *
 *	L = mean over the rows with a label of -sum_c y_c log softmax(q0)_c,    y = smooth / C, and 1 - smooth more on the label
 *
 * top1, top5: per cent of the rows with a label whose class is first, among the first five.
 */
#include "lib/loss/cross.h"

#include <math.h>

const struct param ce_params[] = {
	{ "smooth", 0, 0, 1, "label smoothing", NULL },
	{ NULL, 0, 0, 0, NULL, NULL },
};

int ce_prepare(struct objective *o)
{
	o->room = xcalloc(1, sizeof(struct cross));
	return 0;
}

double ce_expected(const struct objective *o)
{
	return log((double)o->inputs[0].value.shape[1]);
}

int ce_evaluate(struct objective *o)
{
	struct cross *c = o->room;
	double loss;

	if (cross_entropy(c, o, &o->inputs[0], &o->inputs[1].value, choice_value(&o->choice, "smooth"), 1, &loss) < 0)
		return -1;
	objective_set(o, "loss", loss);
	objective_set(o, "top1", c->first);
	objective_set(o, "top5", c->five);
	return 0;
}
