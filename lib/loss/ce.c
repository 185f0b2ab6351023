/*
 * ce.c - cross-entropy of a head as wide as there are classes with labels, smoothed (Szegedy et al. 2016, sec. 7)
 *
 *	L = mean over the rows with a label of -sum_c y_c log softmax(q0)_c,    y = smooth / C, and 1 - smooth more on the label
 *
 * top1, top5: per cent of the rows with a label whose class is first, among the first five.
 */
#include "lib/loss/loss.h"

#include <math.h>

const struct param ce_params[] = {
	{ "smooth", 0, 0, 1, "label smoothing", NULL },
	{ NULL, 0, 0, 0, NULL, NULL },
};

int ce_prepare(struct objective *o)
{
	o->room = xcalloc(1, sizeof(bool));
	return 0;
}

double ce_expected(const struct objective *o)
{
	return log((double)o->inputs[0].value.shape[1]);
}

/* Of a row with a label: its loss, its gradient times share into d, and how many classes rank before its own. */
static double row(const float *q, int classes, int label, double smooth, double share, float *d, int *above)
{
	double peak = q[label], sum = 0, mean = 0;

	*above = 0;
	for (int c = 0; c < classes; c++) {
		peak = MAX(peak, q[c]);
		*above += q[c] > q[label];
		mean += q[c] / (double)classes;
	}
	for (int c = 0; c < classes; c++)
		sum += exp(q[c] - peak);
	for (int c = 0; c < classes; c++)
		d[c] = (float)(share * (exp(q[c] - peak) / sum - smooth / classes - (c == label ? 1 - smooth : 0)));
	return log(sum) + peak - (1 - smooth) * q[label] - smooth * mean;
}

int ce_evaluate(struct objective *o)
{
	const struct tensor *q = &o->inputs[0].value;
	const int32_t *labels = tensor_i32(&o->inputs[1].value);
	int classes = (int)q->shape[1], known = 0, first = 0, five = 0, above;
	bool *told = o->room;
	double loss = 0;

	for (int i = 0; i < o->rows; i++) {
		if (labels[i] >= classes)
			return fail_code(EXIT_USAGE, "step %lld has a label %d, but '%s' is %d wide: give encode --dim %d or "
					 "more", (long long)o->step + 1, labels[i], q->name, classes, labels[i] + 1);
		known += labels[i] >= 0;
	}
	if (known == 0 && !*told)
		note("step %lld has no image with a label: nothing is learnt from it, nor said of others like it",
		     (long long)o->step + 1);
	*told |= known == 0;
	for (int i = 0; i < o->rows; i++) {
		size_t at = (size_t)i * classes;

		if (labels[i] < 0)
			continue;
		loss += row(tensor_f32(q) + at, classes, labels[i], choice_value(&o->choice, "smooth"), 1.0 / known,
			    tensor_f32(&o->inputs[0].gradient) + at, &above);
		first += above < 1;
		five += above < 5;
	}
	objective_set(o, "loss", loss / MAX(known, 1));
	objective_set(o, "top1", 100.0 * first / MAX(known, 1));
	objective_set(o, "top5", 100.0 * five / MAX(known, 1));
	return 0;
}
