/*
 * byol.c - predictions pulled towards the other view's key (Grill et al. 2020, eq. 2, symmetric)
 *
 *	L = mean over both directions and the rows of 2 - 2 <u(p0), u(k1)>        and the same of p1 and k0
 *
 * Keys are those of the moving average (encode --ema .99..1); there are no negatives.
 */
#include "lib/loss/cosines.h"

const struct param byol_params[] = {
	{ NULL, 0, 0, 0, NULL, NULL },
};

int byol_prepare(struct objective *o)
{
	return cosines_prepare(o);
}

double byol_expected(const struct objective *o)
{
	(void)o;
	return 2;
}

int byol_evaluate(struct objective *o)
{
	objective_set(o, "loss", 2 - 2 * cosines_crossed(o, -2));
	return 0;
}
