/*
 * supcon.c - all other views of a class pulled together, against all other views of the batch (Khosla et al. 2020, eq. 2)
 *
 *	L = mean over the rows a of both views that have a positive of
 *	    -1/|P(a)| sum over p in P(a) of log( exp(s_ap/t) / sum over c other than a of exp(s_ac/t) )
 *
 * P(a): the other rows of a's label; an image without a label is a class of its own.
 */
#include "lib/loss/views.h"

#include <math.h>

const struct param supcon_params[] = {
	{ "t", 0.1, 1e-3, 100, "temperature", NULL },
	{ NULL, 0, 0, 0, NULL, NULL },
};

int supcon_prepare(struct objective *o)
{
	return views_prepare(o);
}

void supcon_release(struct objective *o)
{
	views_release(o);
}

double supcon_expected(const struct objective *o)
{
	return log(2.0 * o->rows - 1);
}

/* Sums into pull the other rows of row i's class; how many they are. */
static int gather(const struct views *v, const int32_t *labels, int images, int i)
{
	float *pull = v->pull + (size_t)i * v->dim;
	int count = 0;

	memset(pull, 0, v->dim * sizeof(float));
	for (int j = 0; j < v->rows; j++) {
		int a = i % images, b = j % images;

		if (j == i || (a != b && (labels[a] < 0 || labels[a] != labels[b])))
			continue;
		for (int c = 0; c < v->dim; c++)
			pull[c] += v->u[(size_t)j * v->dim + c];
		count++;
	}
	return count;
}

int supcon_evaluate(struct objective *o)
{
	struct views *v = o->room;
	const int32_t *labels = tensor_i32(&o->inputs[2].value);
	double t = choice_value(&o->choice, "t"), loss = 0;
	int n = v->rows;

	views_read(o);
#pragma omp parallel for schedule(static)
	for (int i = 0; i < n; i++) {   /* two views of an image are of one class: nobody is without a positive */
		int count = gather(v, labels, o->rows, i);

		v->weight[i] = 1.0f / n;
		for (int c = 0; c < v->dim; c++)
			v->pull[(size_t)i * v->dim + c] /= (float)count;
	}
	unit_dots(v->u, v->pull, n, v->dim, v->own);
	views_contrast(o, t);
	for (int i = 0; i < n; i++) {
		loss += (v->softmax->lse[i] - v->own[i] / t) / n;
		for (int c = 0; c < v->dim; c++)   /* as a row, and as a positive of the others, who have as many */
			v->d[(size_t)i * v->dim + c] -= (float)(2 / (n * t)) * v->pull[(size_t)i * v->dim + c];
	}
	views_give(o);
	objective_set(o, "loss", loss);
	return 0;
}
