#include "lib/loss/cosines.h"
#include "lib/loss/unit.h"

int cosines_prepare(struct objective *o)
{
	o->room = xaligned(((size_t)o->inputs[0].value.shape[1] + 1) * o->rows * sizeof(float));
	return objective_same_width(o);
}

double cosines_crossed(struct objective *o, double weight)
{
	int n = o->rows, dim = (int)o->inputs[0].value.shape[1];
	float *target = o->room, *norm = target + (size_t)n * dim;
	double sum = 0;

	for (int view = 0; view < 2; view++) {
		struct loss_input *from = &o->inputs[view], *to = &o->inputs[3 - view];

		unit_rows(tensor_f32(&to->value), n, dim, target, norm);
		sum += unit_cosines(tensor_f32(&from->value), target, n, dim, weight / (2 * n), tensor_f32(&from->gradient));
	}
	return sum / (2 * n);
}
