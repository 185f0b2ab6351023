#include "lib/loss/nce.h"
#include "lib/loss/loss.h"
#include "lib/loss/unit.h"

#include <math.h>

struct nce *nce_new(int rows, int k, int dim)
{
	struct nce *x = xcalloc(1, sizeof(*x));

	*x = (struct nce){ .rows = rows, .dim = dim };
	x->softmax = softmax_new(rows, k, dim, dim);
	x->q = xaligned((size_t)rows * dim * sizeof(float));
	x->norm = xaligned(rows * sizeof(float));
	x->own = xaligned(rows * sizeof(float));
	return x;
}

void nce_free(struct nce *x)
{
	if (!x)
		return;
	softmax_free(x->softmax);
	free(x->q);
	free(x->norm);
	free(x->own);
	free(x);
}

void nce_begin(struct nce *x)
{
	x->loss = 0;
	x->queries = x->first = x->five = 0;
	x->weight = NULL;
}

void nce_read(struct nce *x, const struct tensor *query)
{
	unit_rows(tensor_f32(query), x->rows, x->dim, x->q, x->norm);
}

void nce_contrast(struct nce *x, const float *keys, const float *queue, double t, double share, const float *others, double rest,
		  float *d)
{
	int n = x->rows, dim = x->dim;

	unit_dots(x->q, keys, n, dim, x->own);
	softmax_run(x->softmax, x->q, x->own, queue, queue, t);
	for (int i = 0; i < n; i++) {
		size_t at = (size_t)i * dim;
		double logit = x->own[i] / t, pull = (1 - rest) * logit;
		double push = -expm1(logit - x->softmax->lse[i]) - rest; /* 1 - p_own, also when nearly 0 */
		double weight = x->weight ? share * x->weight[i] : share;
		const float *mean = x->softmax->mean + at;

		for (int c = 0; others && c < dim; c++)
			pull += (double)x->q[at + c] * others[at + c] / t;
		x->loss += weight * (x->softmax->lse[i] - pull);
		x->first += x->softmax->above[i] < 1;
		x->five += x->softmax->above[i] < 5;
		for (int c = 0; c < dim; c++)
			d[at + c] = (float)(weight / (n * t) * (mean[c] - push * keys[at + c] - (others ? others[at + c] : 0)));
	}
	x->queries += n;
	unit_rows_backward(x->q, x->norm, n, dim, d);
}

void nce_ranks(const struct nce *x, struct objective *o)
{
	objective_set(o, "top1", 100.0 * x->first / x->queries);
	objective_set(o, "top5", 100.0 * x->five / x->queries);
}
