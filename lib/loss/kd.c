/*
 * kd.c - knowledge distillation of a teacher's classifier (Hinton et al. 2015, sec. 2)
 *
 *	L = (1 - a) CE(q0, label) + a T^2 KL(softmax(t0/T) || softmax(q0/T))
 *
 * Means over the rows, the first over those with a label.
 */
#include "lib/loss/cross.h"

#include <math.h>

const struct param kd_params[] = {
	{ "T", 4, 1e-3, 1e3, "temperature of both", NULL },
	{ "a", 0.9, 0, 1, "share of the teacher", NULL },
	{ NULL, 0, 0, 0, NULL, NULL },
};

enum { Q, T, LABEL };

struct kd {
	struct cross cross;
	double *y, *z;           /* (C): log-probabilities of a row, of teacher and student */
};

int kd_prepare(struct objective *o)
{
	struct kd *x = o->room = xcalloc(1, sizeof(*x));
	int64_t classes = o->inputs[Q].value.shape[1];

	x->y = xcalloc(classes, sizeof(*x->y));
	x->z = xcalloc(classes, sizeof(*x->z));
	return objective_same_width(o);
}

void kd_release(struct objective *o)
{
	struct kd *x = o->room;

	free(x->y);
	free(x->z);
	free(x);
}

/* A student that spreads evenly, as its teacher does. */
double kd_expected(const struct objective *o)
{
	return (1 - choice_value(&o->choice, "a")) * log((double)o->inputs[Q].value.shape[1]);
}

static void log_softmax(const float *x, int n, double temperature, double *out)
{
	double peak = -INFINITY, sum = 0;

	for (int c = 0; c < n; c++)
		peak = MAX(peak, x[c] / temperature);
	for (int c = 0; c < n; c++)
		sum += exp(x[c] / temperature - peak);
	for (int c = 0; c < n; c++)
		out[c] = x[c] / temperature - peak - log(sum);
}

/* Mean KL, weight times its gradient added to q0's. */
static double diverge(struct objective *o, double temperature, double weight)
{
	struct kd *x = o->room;
	int n = o->rows, classes = (int)o->inputs[Q].value.shape[1];
	double sum = 0;

	for (int i = 0; i < n; i++) {
		size_t at = (size_t)i * classes;
		float *d = tensor_f32(&o->inputs[Q].gradient) + at;

		log_softmax(tensor_f32(&o->inputs[T].value) + at, classes, temperature, x->y);
		log_softmax(tensor_f32(&o->inputs[Q].value) + at, classes, temperature, x->z);
		for (int c = 0; c < classes; c++) {
			sum += exp(x->y[c]) * (x->y[c] - x->z[c]);
			d[c] += (float)(weight / (n * temperature) * (exp(x->z[c]) - exp(x->y[c])));
		}
	}
	return sum / n;
}

int kd_evaluate(struct objective *o)
{
	struct kd *x = o->room;
	double a = choice_value(&o->choice, "a"), t = choice_value(&o->choice, "T"), cross, kl;

	if (cross_entropy(&x->cross, o, &o->inputs[Q], &o->inputs[LABEL].value, 0, 1 - a, &cross) < 0)
		return -1;
	kl = diverge(o, t, a * t * t);
	objective_set(o, "loss", (1 - a) * cross + a * t * t * kl);
	objective_set(o, "top1", x->cross.first);
	objective_set(o, "kl", kl);
	return 0;
}
