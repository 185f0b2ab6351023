/*
 * barlow.c - the cross-correlation of both views' dimensions brought to the identity (Barlow Twins, Zbontar et al. 2021, eq. 1)
 *
 *	z = columns of q normalised over the batch, as batch norm does without a scale (eps 1e-5),   C = z0^T z1 / N
 *	L = sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2
 */
#include "lib/loss/loss.h"
#include "lib/tensor/gemm.h"

#include <math.h>

const struct param barlow_params[] = {
	{ "lambda", 5e-3, 0, 1e3, "weight of what is off the diagonal", NULL },
	{ NULL, 0, 0, 0, NULL, NULL },
};

struct barlow {
	float *z[2];             /* (n, dim) */
	double *deviation[2];    /* (dim) */
	float *c;                /* (dim, dim) */
};

int barlow_prepare(struct objective *o)
{
	int64_t dim = o->inputs[0].value.shape[1];
	struct barlow *x = o->room = xcalloc(1, sizeof(*x));

	for (int view = 0; view < 2; view++) {
		x->z[view] = xaligned(o->rows * dim * sizeof(float));
		x->deviation[view] = xaligned(dim * sizeof(double));
	}
	x->c = xaligned(dim * dim * sizeof(float));
	return objective_same_width(o);
}

void barlow_release(struct objective *o)
{
	struct barlow *x = o->room;

	for (int view = 0; view < 2; view++) {
		free(x->z[view]);
		free(x->deviation[view]);
	}
	free(x->c);
	free(x);
}

double barlow_expected(const struct objective *o)
{
	return (double)o->inputs[0].value.shape[1];
}

static void normalise(const float *q, int n, int dim, float *z, double *deviation)
{
#pragma omp parallel for
	for (int c = 0; c < dim; c++) {
		double mean = 0, square = 0;

		for (int i = 0; i < n; i++)
			mean += q[(size_t)i * dim + c] / (double)n;
		for (int i = 0; i < n; i++)
			square += (q[(size_t)i * dim + c] - mean) * (q[(size_t)i * dim + c] - mean);
		deviation[c] = sqrt(square / n + 1e-5);
		for (int i = 0; i < n; i++)
			z[(size_t)i * dim + c] = (float)((q[(size_t)i * dim + c] - mean) / deviation[c]);
	}
}

/* d, the gradient for z, becomes that for q. */
static void normalise_backward(const float *z, const double *deviation, int n, int dim, float *d)
{
#pragma omp parallel for
	for (int c = 0; c < dim; c++) {
		double mean = 0, along = 0;

		for (int i = 0; i < n; i++) {
			mean += d[(size_t)i * dim + c] / (double)n;
			along += (double)d[(size_t)i * dim + c] * z[(size_t)i * dim + c] / n;
		}
		for (int i = 0; i < n; i++)
			d[(size_t)i * dim + c] =
				(float)((d[(size_t)i * dim + c] - mean - along * z[(size_t)i * dim + c]) / deviation[c]);
	}
}

int barlow_evaluate(struct objective *o)
{
	struct barlow *x = o->room;
	int n = o->rows, dim = (int)o->inputs[0].value.shape[1];
	double lambda = choice_value(&o->choice, "lambda"), on = 0, off = 0;

	for (int view = 0; view < 2; view++)
		normalise(tensor_f32(&o->inputs[view].value), n, dim, x->z[view], x->deviation[view]);
	gemm(true, false, dim, dim, n, 1.0f / (float)n, x->z[0], dim, x->z[1], dim, 0, x->c, dim);
	for (int64_t i = 0; i < (int64_t)dim * dim; i++) {
		double c = x->c[i], miss = i % (dim + 1) == 0 ? c - 1 : 0;

		on += miss * miss;
		off += i % (dim + 1) == 0 ? 0 : c * c;
		x->c[i] = (float)(2 * (i % (dim + 1) == 0 ? miss : lambda * c)); /* now the gradient for it */
	}
	for (int view = 0; view < 2; view++) {
		float *d = tensor_f32(&o->inputs[view].gradient);

		gemm(false, view == 0, n, dim, dim, 1.0f / (float)n, x->z[1 - view], dim, x->c, dim, 0, d, dim);
		normalise_backward(x->z[view], x->deviation[view], n, dim, d);
	}
	objective_set(o, "loss", on + lambda * off);
	objective_set(o, "diagonal", on);
	return 0;
}
