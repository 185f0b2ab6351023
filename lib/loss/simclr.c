/*
 * simclr.c - NT-Xent: each of two views of an image against all other views of the batch (Chen et al. 2020, eq. 1)
 *
 *	L = mean over the 2N rows a of both views, b the other view of a, of
 *	    -log( exp(s_ab/t) / sum over c other than a of exp(s_ac/t) )
 *
 * top1, top5: per cent of the rows whose other view is nearest, among the five nearest.
 */
#include "lib/loss/views.h"

#include <math.h>

const struct param simclr_params[] = {
	{ "t", 0.5, 1e-3, 100, "temperature (0.5 for CIFAR, 0.1 to 0.2 else)", NULL },
	{ NULL, 0, 0, 0, NULL, NULL },
};

int simclr_prepare(struct objective *o)
{
	return views_prepare(o);
}

void simclr_release(struct objective *o)
{
	views_release(o);
}

double simclr_expected(const struct objective *o)
{
	return log(2.0 * o->rows - 1);
}

int simclr_evaluate(struct objective *o)
{
	struct views *v = o->room;
	double t = choice_value(&o->choice, "t"), loss = 0;
	int first = 0, five = 0, n = v->rows;

	views_read(o);
	for (int i = 0; i < n; i++) {
		v->weight[i] = 1.0f / n;
		memcpy(v->pull + (size_t)i * v->dim, v->u + (size_t)((i + o->rows) % n) * v->dim, v->dim * sizeof(float));
	}
	unit_dots(v->u, v->pull, n, v->dim, v->own);
	for (int i = 0; i < n; i++)
		v->rank[i] = v->own[i] + 1e-6f;   /* the other view is one of the bank, and not above itself by rounding */
	views_contrast(o, t);
	for (int i = 0; i < n; i++) {
		loss += (v->softmax->lse[i] - v->own[i] / t) / n;
		first += v->softmax->above[i] < 1;
		five += v->softmax->above[i] < 5;
		for (int c = 0; c < v->dim; c++)   /* as a row, and as the other's other view */
			v->d[(size_t)i * v->dim + c] -= (float)(2 / (n * t)) * v->pull[(size_t)i * v->dim + c];
	}
	views_give(o);
	objective_set(o, "loss", loss);
	objective_set(o, "top1", 100.0 * first / n);
	objective_set(o, "top5", 100.0 * five / n);
	return 0;
}
