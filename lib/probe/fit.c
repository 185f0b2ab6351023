#include "lib/probe/fit.h"
#include "lib/base/rng.h"
#include "lib/probe/lbfgs.h"
#include "lib/probe/solve.h"
#include "lib/tensor/gemm.h"

#include <math.h>

enum {
	BASIS = 8192,                  /* samples that the covariance is estimated from, at most */
	ITERATIONS = 60,               /* of the solver, for one lambda of a path */
	FINAL_ITERATIONS = 100,        /* for the lambda that the path has chosen */
};
#define TOLERANCE 2e-5   /* looser fits along the path cost two points on features of a briefly trained network */

/* --- mean, scale and covariance of the features --- */

/* Mean of columns from..to, and the sum of their squared distances from it, over all samples. */
static double measure_columns(struct fit *f, int64_t from, int64_t to)
{
	const struct labelled *sets = f->sets;
	double sum[64] = { 0 }, square = 0;

	for (int64_t i = 0; i < sets->train_count; i++)
		for (int64_t d = from; d < to; d++)
			sum[d - from] += sets->train[i * sets->dim + d];
	for (int64_t d = from; d < to; d++)
		f->mean[d] = (float)(sum[d - from] / sets->train_count);
	for (int64_t i = 0; i < sets->train_count; i++)
		for (int64_t d = from; d < to; d++) {
			double off = (double)sets->train[i * sets->dim + d] - f->mean[d];

			square += off * off;
		}
	return square;
}

static void measure(struct fit *f)
{
	int64_t dim = f->sets->dim, blocks = (dim + 63) / 64;
	double *square = xcalloc(blocks, sizeof(*square)), total = 0;

#pragma omp parallel for
	for (int64_t b = 0; b < blocks; b++)
		square[b] = measure_columns(f, b * 64, MIN(dim, b * 64 + 64));
	for (int64_t b = 0; b < blocks; b++)
		total += square[b];
	f->scale = (float)MAX(sqrt(total / f->sets->train_count), 1e-20);
	free(square);
}

/* Lower triangle of the covariance of z, from evenly spread samples. */
static void covariance(struct fit *f)
{
	const struct labelled *sets = f->sets;
	int64_t dim = sets->dim, m = MIN(BASIS, sets->train_count);
	float *z = xaligned(m * dim * sizeof(float)); /* (m, dim) */

#pragma omp parallel for
	for (int64_t i = 0; i < m; i++) {
		const float *x = sets->train + i * sets->train_count / m * dim;

		for (int64_t d = 0; d < dim; d++)
			z[i * dim + d] = (x[d] - f->mean[d]) / f->scale;
	}
#pragma omp parallel for schedule(dynamic)
	for (int64_t b = 0; b < dim; b += 128) {
		int rows = (int)MIN(128, dim - b);

		gemm(true, false, rows, (int)b + rows, (int)m, 1.0f / m, z + b, (int)dim, z, (int)dim, 0, f->cov + b * dim,
		     (int)dim);
	}
	free(z);
}

/* The Hessian's blocks on the diagonal are about h cov + lambda, h the mean of p (1 - p). What single precision cannot factor
 * gets a larger ridge. */
static void factorise(struct fit *f, double h, double lambda)
{
	int64_t dim = f->sets->dim;
	float ridge = (float)(lambda / h);

	do {
		memcpy(f->factor, f->cov, dim * dim * sizeof(float));
		for (int64_t d = 0; d < dim; d++)
			f->factor[d * dim + d] += ridge;
		ridge = ridge * 10 + 1e-12f;
	} while (solve_factor(f->factor, (int)dim) < 0);
}

/* --- value and gradient --- */

/* Row of logits (classes) becomes the gradient of -log p[label], the value is returned. *hit: whether label is the largest.
 * Adds the sum of p (1 - p) to *curvature. */
static double softmax_row(float *z, int classes, int label, bool *hit, double *curvature)
{
	float peak = z[0], mine = z[label];
	double sum = 0, square = 0;

	for (int c = 1; c < classes; c++)
		peak = MAX(peak, z[c]);
	*hit = mine == peak;
	for (int c = 0; c < classes; c++) {
		z[c] = expf(z[c] - peak);
		sum += z[c];
	}
	for (int c = 0; c < classes; c++) {
		z[c] = (float)(z[c] / sum);
		square += z[c] * z[c];
	}
	z[label] -= 1;
	*curvature += 1 - square;
	return log(sum) + peak - mine;
}

void fit_logits(const struct fit *f, const float *x, int rows, float *z)
{
	int classes = f->sets->classes, dim = (int)f->sets->dim;

	for (int i = 0; i < rows; i++)
		memcpy(z + (size_t)i * classes, f->raw + (size_t)dim * classes, classes * sizeof(float));
	gemm(false, false, rows, classes, dim, 1, x, dim, f->raw, classes, 1, z, classes);
}

static void run_chunk(struct fit *f, int chunk)
{
	const struct labelled *sets = f->sets;
	int classes = sets->classes, dim = (int)sets->dim;
	int64_t first = chunk * sets->train_count / FIT_CHUNKS, last = (chunk + 1) * sets->train_count / FIT_CHUNKS;
	float *z = xaligned((size_t)FIT_ROWS * classes * sizeof(float)); /* (FIT_ROWS, classes) */
	float *gradient = f->partial + chunk * f->params;

	memset(gradient, 0, f->params * sizeof(float));
	f->loss[chunk] = f->curvature[chunk] = 0;
	f->held[chunk] = (struct score){ 0 };
	for (int64_t i = first; i < last; i += FIT_ROWS) {
		int rows = (int)MIN(FIT_ROWS, last - i);

		fit_logits(f, sets->train + i * dim, rows, z);
		for (int r = 0; r < rows; r++) {
			float *row = z + (size_t)r * classes;
			bool hit, out = f->fold[i + r] == f->left_out;
			double loss = softmax_row(row, classes, sets->train_label[i + r], &hit, &f->curvature[chunk]);

			f->loss[chunk] += out ? 0 : loss;
			f->held[chunk].loss += out ? loss : 0;
			f->held[chunk].hits += out && hit;
			f->held[chunk].count += out;
			for (int c = 0; c < classes; c++) {
				row[c] = out ? 0 : row[c];
				gradient[f->params - classes + c] += row[c];
			}
		}
		gemm(true, false, dim, classes, rows, 1, sets->train + i * dim, dim, z, classes, 1, gradient, classes);
	}
	free(z);
}

void fit_use(struct fit *f, const float *w)
{
	int classes = f->sets->classes;
	float *bias = f->raw + f->params - classes;

	memcpy(bias, w + f->params - classes, classes * sizeof(float));
	for (int64_t d = 0; d < f->sets->dim; d++)
		for (int c = 0; c < classes; c++) {
			f->raw[d * classes + c] = w[d * classes + c] / f->scale;
			bias[c] -= f->raw[d * classes + c] * f->mean[d];
		}
}

static struct score held_out(const struct fit *f)
{
	struct score s = { 0 };

	for (int k = 0; k < FIT_CHUNKS; k++) {
		s.hits += f->held[k].hits;
		s.count += f->held[k].count;
		s.loss += f->held[k].loss;
	}
	return s;
}

static double value(void *arg, const float *w, float *gradient)
{
	struct fit *f = arg;
	int classes = f->sets->classes;
	const float *bias = gradient + f->params - classes;
	double loss = 0, square = 0, count;

	fit_use(f, w);
#pragma omp parallel for schedule(dynamic)
	for (int k = 0; k < FIT_CHUNKS; k++)
		run_chunk(f, k);
	for (int k = 0; k < FIT_CHUNKS; k++)
		loss += f->loss[k];
	count = f->sets->train_count - held_out(f).count;
#pragma omp parallel for
	for (int64_t i = 0; i < f->params; i++) {
		double sum = 0;

		for (int k = 0; k < FIT_CHUNKS; k++)
			sum += f->partial[k * f->params + i];
		gradient[i] = (float)(sum / count);
	}
	for (int64_t d = 0; d < f->sets->dim; d++)
		for (int c = 0; c < classes; c++) {
			int64_t i = d * classes + c;

			gradient[i] = (float)((gradient[i] - bias[c] * f->mean[d]) / f->scale + f->lambda * w[i]);
			square += (double)w[i] * w[i];
		}
	return loss / count + f->lambda / 2 * square;
}

/* The biases' Hessian is about h: all is divided by it, and L-BFGS finds the common factor by itself. */
static void precondition(void *arg, float *v)
{
	struct fit *f = arg;

	solve_with(f->factor, (int)f->sets->dim, v, f->sets->classes);
}

/* Mean of p (1 - p) where value() was asked last. */
static double mean_curvature(const struct fit *f)
{
	double sum = 0;

	for (int k = 0; k < FIT_CHUNKS; k++)
		sum += f->curvature[k];
	return MAX(sum / f->sets->train_count / f->sets->classes, 1e-6);
}

/* --- life cycle --- */

void fit_init(struct fit *f, const struct labelled *sets)
{
	int64_t params = (sets->dim + 1) * sets->classes;

	*f = (struct fit){ .sets = sets, .params = params, .left_out = -1 };
	f->mean = xaligned(sets->dim * sizeof(float));
	f->cov = xaligned(sets->dim * sets->dim * sizeof(float));
	f->factor = xaligned(sets->dim * sets->dim * sizeof(float));
	f->fold = xcalloc(sets->train_count, 1);
	f->raw = xaligned(params * sizeof(float));
	f->partial = xaligned(FIT_CHUNKS * params * sizeof(float));
	f->solver = lbfgs_new(params, value, precondition, f);
	for (int64_t i = 0; i < sets->train_count; i++) {
		struct rng r = rng_at(0, 0, (uint32_t)i, 0, RNG_PROBE);

		f->fold[i] = (uint8_t)rng_below(&r, FIT_FOLDS);
	}
	measure(f);
	covariance(f);
}

void fit_release(struct fit *f)
{
	free(f->mean);
	free(f->cov);
	free(f->factor);
	free(f->fold);
	free(f->raw);
	free(f->partial);
	lbfgs_free(f->solver);
}

struct score fit_run(struct fit *f, float *w, double lambda, int left_out)
{
	if (lambda != f->lambda) {
		factorise(f, f->lambda > 0 ? mean_curvature(f) : (1 - 1.0 / f->sets->classes) / f->sets->classes, lambda);
		f->lambda = lambda;
	}
	f->left_out = left_out;
	lbfgs_run(f->solver, w, left_out < 0 ? FINAL_ITERATIONS : ITERATIONS, TOLERANCE);
	return held_out(f);
}
