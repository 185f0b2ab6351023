#include "lib/loss/distil.h"

#include <math.h>

struct distil *distil_new(int rows, int k, int dim, int wide)
{
	struct distil *x = xcalloc(1, sizeof(*x));
	size_t n = rows;

	*x = (struct distil){ .rows = rows, .dim = dim, .wide = wide };
	x->q = xaligned(n * dim * sizeof(float));
	x->t = xaligned(n * wide * sizeof(float));
	x->norm = xaligned(n * sizeof(float));
	x->own = xaligned(n * sizeof(float));
	x->mean = xaligned(n * dim * sizeof(float));
	x->teacher = softmax_new(rows, k, wide, dim);
	x->student = softmax_new(rows, k, dim, dim);
	return x;
}

void distil_free(struct distil *x)
{
	if (!x)
		return;
	softmax_free(x->teacher);
	softmax_free(x->student);
	free(x->q);
	free(x->t);
	free(x->norm);
	free(x->own);
	free(x->mean);
	free(x);
}

void distil_read(struct distil *x, int at, const struct tensor *q, const struct tensor *t)
{
	int n = (int)q->shape[0];

	unit_rows(tensor_f32(t), n, x->wide, x->t + (size_t)at * x->wide, x->norm + at);
	unit_rows(tensor_f32(q), n, x->dim, x->q + (size_t)at * x->dim, x->norm + at);
}

/* The teacher's slot of its own stands for its row, which is as wide as the student's then. */
void distil_targets(struct distil *x, const float *keys, const float *values, const float *own, double t)
{
	softmax_run(x->teacher, x->t, own, keys, values, t);
	for (int i = 0; i < x->rows; i++) {
		float share = own ? (float)exp(own[i] / t - x->teacher->lse[i]) : 0;
		size_t at = (size_t)i * x->dim;

		for (int c = 0; c < x->dim; c++)
			x->mean[at + c] = x->teacher->mean[at + c] + (own ? share * x->t[at + c] : 0);
	}
}

double distil_match(struct distil *x, const float *keys, const float *own, double t, float *d)
{
	double loss = 0;

	softmax_run(x->student, x->q, own, keys, keys, t);
	for (int i = 0; i < x->rows; i++) {
		float share = own ? (float)exp(own[i] / t - x->student->lse[i]) : 0;
		size_t at = (size_t)i * x->dim;
		double pull = 0;

		for (int c = 0; c < x->dim; c++) {
			float z = x->student->mean[at + c] + (own ? share * x->t[at + c] : 0);

			pull += (double)x->q[at + c] * x->mean[at + c];
			d[at + c] = (float)((z - x->mean[at + c]) / (x->rows * t));
		}
		loss += (x->student->lse[i] - pull / t) / x->rows;
	}
	unit_rows_backward(x->q, x->norm, x->rows, x->dim, d);
	return loss;
}
