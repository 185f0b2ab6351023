#include "lib/loss/unit.h"

#include <math.h>

static double dot(const float *a, const float *b, int dim)
{
	double sum = 0;

	for (int d = 0; d < dim; d++)
		sum += (double)a[d] * b[d];
	return sum;
}

void unit_rows(const float *x, int n, int dim, float *u, float *norm)
{
	for (int i = 0; i < n; i++, x += dim, u += dim) {
		double length = MAX(sqrt(dot(x, x, dim)), 1e-12);

		norm[i] = (float)length;
		for (int d = 0; d < dim; d++)
			u[d] = (float)(x[d] / length);
	}
}

void unit_rows_backward(const float *u, const float *norm, int n, int dim, float *du)
{
	for (int i = 0; i < n; i++, u += dim, du += dim) {
		double along = dot(u, du, dim);

		for (int d = 0; d < dim; d++)
			du[d] = (float)((du[d] - u[d] * along) / norm[i]);
	}
}

double unit_cosines(const float *x, const float *v, int n, int dim, double weight, float *dx)
{
	double sum = 0;

	for (int i = 0; i < n; i++) {
		const float *a = x + (size_t)i * dim, *b = v + (size_t)i * dim;
		double length = MAX(sqrt(dot(a, a, dim)), 1e-12), cosine = dot(a, b, dim) / length;

		for (int d = 0; d < dim; d++)
			dx[(size_t)i * dim + d] += (float)(weight * (b[d] - cosine * a[d] / length) / length);
		sum += cosine;
	}
	return sum;
}

void unit_dots(const float *a, const float *b, int n, int dim, float *out)
{
	for (int i = 0; i < n; i++)
		out[i] = (float)dot(a + (size_t)i * dim, b + (size_t)i * dim, dim);
}

double unit_std(const float *u, int n, int dim)
{
	double total = 0;

	for (int d = 0; d < dim; d++) {
		double sum = 0, square = 0;

		for (int i = 0; i < n; i++)
			sum += u[(size_t)i * dim + d];
		for (int i = 0; i < n; i++) {
			double off = u[(size_t)i * dim + d] - sum / n;

			square += off * off;
		}
		total += sqrt(square / MAX(n - 1, 1));
	}
	return total / dim;
}
