/*
 * simsiam.c - predictions pulled towards the other view's head, which no gradient goes to (Chen and He 2021, eq. 2)
 *
 *	L = -mean over both directions and the rows of <u(p0), sg u(q1)>        and the same of p1 and q0
 */
#include "lib/loss/cosines.h"

const struct param simsiam_params[] = {
	{ NULL, 0, 0, 0, NULL, NULL },
};

int simsiam_prepare(struct objective *o)
{
	return cosines_prepare(o);
}

double simsiam_expected(const struct objective *o)
{
	(void)o;
	return 0;
}

int simsiam_evaluate(struct objective *o)
{
	objective_set(o, "loss", -cosines_crossed(o, -1));
	return 0;
}
