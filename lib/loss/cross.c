#include "lib/loss/cross.h"

#include <math.h>

/* Of a row with a label: its loss, its gradient times share onto d, and how many classes rank before its own. */
static double row(const float *x, int classes, int label, double smooth, double share, float *d, int *above)
{
	double peak = x[label], sum = 0, mean = 0;

	*above = 0;
	for (int c = 0; c < classes; c++) {
		peak = MAX(peak, x[c]);
		*above += x[c] > x[label];
		mean += x[c] / (double)classes;
	}
	for (int c = 0; c < classes; c++)
		sum += exp(x[c] - peak);
	for (int c = 0; c < classes; c++)
		d[c] += (float)(share * (exp(x[c] - peak) / sum - smooth / classes - (c == label ? 1 - smooth : 0)));
	return log(sum) + peak - (1 - smooth) * x[label] - smooth * mean;
}

/* How many rows have a label, or -1. */
static int count_labels(const struct objective *o, const struct tensor *x, const struct tensor *labels)
{
	int classes = (int)x->shape[1], known = 0;

	for (int i = 0; i < o->rows; i++) {
		int label = tensor_i32(labels)[i];

		if (label >= classes)
			return fail_code(EXIT_USAGE, "step %lld has a label %d, but '%s' is %d wide: give encode --dim %d or "
					 "more", (long long)o->step + 1, label, x->name, classes, label + 1);
		known += label >= 0;
	}
	return known;
}

int cross_entropy(struct cross *c, const struct objective *o, const struct loss_input *x, const struct tensor *labels,
		  double smooth, double weight, double *loss)
{
	int classes = (int)x->value.shape[1], known = count_labels(o, &x->value, labels), first = 0, five = 0, above;

	*loss = 0;
	if (known < 0)
		return -1;
	if (known == 0 && !c->told)
		note("step %lld has no image with a label: nothing is learnt from it, nor said of others like it",
		     (long long)o->step + 1);
	c->told |= known == 0;
	for (int i = 0; i < o->rows; i++) {
		int label = tensor_i32(labels)[i];

		if (label < 0)
			continue;
		*loss += row(tensor_f32(&x->value) + (size_t)i * classes, classes, label, smooth, weight / known,
			     tensor_f32(&x->gradient) + (size_t)i * classes, &above);
		first += above < 1;
		five += above < 5;
	}
	*loss /= MAX(known, 1);
	c->first = 100.0 * first / MAX(known, 1);
	c->five = 100.0 * five / MAX(known, 1);
	return 0;
}
