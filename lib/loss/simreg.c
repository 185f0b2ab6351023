/*
 * simreg.c - regression of a teacher's feature by the student's head (SimReg, Navaneet et al. 2021, eq. 1)
 *
 *	L = mean of 2 - 2 <u(q0), u(tfeature0)>         view=1: tfeature1, of another view
 */
#include "lib/loss/cosines.h"
#include "lib/loss/unit.h"

const struct param simreg_params[] = {
	{ "view", 0, 0, 1, "whose feature: 0: of the same view, 1: of the other", NULL },
	{ NULL, 0, 0, 0, NULL, NULL },
};

const char *simreg_choose(const struct choice *c)
{
	return choice_value(c, "view") > 0 ? "q0 tfeature1" : "q0 tfeature0";
}

int simreg_prepare(struct objective *o)
{
	return cosines_prepare(o);
}

double simreg_expected(const struct objective *o)
{
	(void)o;
	return 2;
}

int simreg_evaluate(struct objective *o)
{
	int n = o->rows, dim = (int)o->inputs[0].value.shape[1];
	float *target = o->room, *norm = target + (size_t)n * dim;

	unit_rows(tensor_f32(&o->inputs[1].value), n, dim, target, norm);
	objective_set(o, "loss", 2 - 2 * unit_cosines(tensor_f32(&o->inputs[0].value), target, n, dim, -2.0 / n,
						      tensor_f32(&o->inputs[0].gradient)) / n);
	return 0;
}
