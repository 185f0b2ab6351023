/*
 * rkd.c - relations between embeddings as a teacher's (RKD, Park et al. 2019, eq. 5 to 9)
 *
 *	D_ij = |x_i - x_j| / mean of the distances that are not 0,   A_ijk = cosine of the angle at x_i between x_j and x_k
 *	L = 25 mean over all i, j of l(D(q0) - D(t0)) + 50 mean over all i, j, k of l(A(q0) - A(t0)),
 *	l(x) = x^2/2 where |x| < 1, else |x| - 1/2
 *
 * ce=1 adds the cross-entropy of q0 with label. Student and teacher may differ in width. Distances of 0 have no gradient.
 */
#include "lib/loss/cross.h"
#include "lib/tensor/gemm.h"

#include <math.h>

const struct param rkd_params[] = {
	{ "distance", 25, 0, 1e6, "weight of the distances", NULL },
	{ "angle", 50, 0, 1e6, "weight of the angles", NULL },
	{ "ce", 0, 0, 1, "1: with the cross-entropy of labels", NULL },
	{ NULL, 0, 0, 0, NULL, NULL },
};

enum { Q, T, LABEL };
enum { CHUNKS = 8 };             /* of anchors: summed apart whatever the threads, then together in order */

struct rkd {
	struct cross cross;
	double *distance[2];     /* (n, n): of student and teacher */
	struct chunk {
		float *ray[2], *angle[2];   /* of an anchor: (n, width) unit vectors to all rows, (n, n) */
		float *length, *d;   /* (n) of the student's rays; (n, width): gradient for q */
		float *dray;         /* (n, width) */
		double loss;
	} chunks[CHUNKS];
};

const char *rkd_choose(const struct choice *c)
{
	return choice_value(c, "ce") > 0 ? "q0 t0 label" : "q0 t0";
}

int rkd_prepare(struct objective *o)
{
	struct rkd *x = o->room = xcalloc(1, sizeof(*x));
	size_t n = o->rows;

	if (n > 2048)
		return fail_code(EXIT_USAGE, "loss 'rkd' compares all triplets of a batch, and %zu rows have too many: give "
				 "augment --batch 2048 or less", n);
	for (int w = Q; w <= T; w++)
		x->distance[w] = xcalloc(n * n, sizeof(double));
	for (struct chunk *c = x->chunks; c < x->chunks + CHUNKS; c++) {
		for (int w = Q; w <= T; w++) {
			c->ray[w] = xaligned(n * o->inputs[w].value.shape[1] * sizeof(float));
			c->angle[w] = xaligned(n * n * sizeof(float));
		}
		c->length = xaligned(n * sizeof(float));
		c->d = xaligned(n * o->inputs[Q].value.shape[1] * sizeof(float));
		c->dray = xaligned(n * o->inputs[Q].value.shape[1] * sizeof(float));
	}
	return 0;
}

void rkd_release(struct objective *o)
{
	struct rkd *x = o->room;

	for (struct chunk *c = x->chunks; c < x->chunks + CHUNKS; c++) {
		for (int w = Q; w <= T; w++) {
			free(c->ray[w]);
			free(c->angle[w]);
		}
		free(c->length);
		free(c->d);
		free(c->dray);
	}
	free(x->distance[Q]);
	free(x->distance[T]);
	free(x);
}

/* That of a student like the teacher; one that knows nothing has no number of its own. */
double rkd_expected(const struct objective *o)
{
	return choice_value(&o->choice, "ce") > 0 ? log((double)o->inputs[Q].value.shape[1]) : 0;
}

/* l and its derivative. */
static double huber(double x, double *slope)
{
	*slope = x > 1 ? 1 : x < -1 ? -1 : x;
	return fabs(x) < 1 ? x * x / 2 : fabs(x) - 0.5;
}

/* All distances of rows x (n, dim), divided by the mean of those that are not 0, which is returned; 0: all are. */
static double measure(const float *x, int n, int dim, double *distance)
{
	double sum = 0;
	int64_t count = 0;

#pragma omp parallel for
	for (int i = 0; i < n; i++)
		for (int j = 0; j < n; j++) {
			double square = 0;

			for (int c = 0; c < dim; c++) {
				double off = (double)x[(size_t)i * dim + c] - x[(size_t)j * dim + c];

				square += off * off;
			}
			distance[(size_t)i * n + j] = sqrt(square);
		}
	for (int64_t i = 0; i < (int64_t)n * n; i++) {
		sum += distance[i];
		count += distance[i] > 0;
	}
	for (int64_t i = 0; sum > 0 && i < (int64_t)n * n; i++)
		distance[i] *= count / sum;
	return count ? sum / count : 0;
}

/* The mean of l over all distances, and weight times its gradient for q onto d. The student's mean distance moves, too. */
static double match_distances(struct objective *o, double weight, float *d)
{
	struct rkd *x = o->room;
	int n = o->rows, dim = (int)o->inputs[Q].value.shape[1];
	const float *q = tensor_f32(&o->inputs[Q].value);
	double mean = measure(q, n, dim, x->distance[Q]), loss = 0, along = 0, all = (double)n * n;
	double *slope = xcalloc((size_t)n * n, sizeof(*slope));
	int64_t count = 0;

	measure(tensor_f32(&o->inputs[T].value), n, (int)o->inputs[T].value.shape[1], x->distance[T]);
	for (int64_t i = 0; i < (int64_t)n * n; i++) {
		loss += huber(x->distance[Q][i] - x->distance[T][i], &slope[i]) / all;
		along += slope[i] * x->distance[Q][i];
		count += x->distance[Q][i] > 0;
	}
#pragma omp parallel for
	for (int i = 0; i < n; i++)
		for (int j = 0; j < n; j++) {
			size_t at = (size_t)i * n + j;
			double length = x->distance[Q][at] * mean, pull;

			if (length == 0)
				continue;
			pull = 2 * weight / all / mean * (slope[at] - along / count) / length; /* D_ij and D_ji */
			for (int c = 0; c < dim; c++)
				d[(size_t)i * dim + c] += (float)(pull * (q[(size_t)i * dim + c] - q[(size_t)j * dim + c]));
		}
	free(slope);
	return loss;
}

/* Unit vectors from row i to all rows, 0 to itself and its equals. */
static void cast(const float *x, int n, int dim, int i, float *ray, float *length)
{
	for (int j = 0; j < n; j++) {
		double square = 0;
		float *r = ray + (size_t)j * dim;

		for (int c = 0; c < dim; c++) {
			double off = (double)x[(size_t)j * dim + c] - x[(size_t)i * dim + c];

			square += off * off;
		}
		for (int c = 0; c < dim; c++)
			r[c] = square > 0 ? (float)((x[(size_t)j * dim + c] - x[(size_t)i * dim + c]) / sqrt(square)) : 0;
		if (length)
			length[j] = (float)sqrt(square);
	}
}

/* Angles at row i: their part of the loss, and of the gradient onto c->d. */
static void match_anchor(const struct objective *o, struct chunk *c, int i, double weight)
{
	int n = o->rows, dim = (int)o->inputs[Q].value.shape[1];
	double all = (double)n * n * n;

	for (int w = Q; w <= T; w++) {
		int width = (int)o->inputs[w].value.shape[1];

		cast(tensor_f32(&o->inputs[w].value), n, width, i, c->ray[w], w == Q ? c->length : NULL);
		gemm(false, true, n, n, width, 1, c->ray[w], width, c->ray[w], width, 0, c->angle[w], n);
	}
	for (int64_t j = 0; j < (int64_t)n * n; j++) {
		double slope;

		c->loss += huber((double)c->angle[Q][j] - c->angle[T][j], &slope) / all;
		c->angle[Q][j] = (float)(2 * weight / all * slope);
	}
	gemm(false, false, n, dim, n, 1, c->angle[Q], n, c->ray[Q], dim, 0, c->dray, dim);
	for (int j = 0; j < n; j++) {
		const float *ray = c->ray[Q] + (size_t)j * dim, *dray = c->dray + (size_t)j * dim;
		double along = 0;

		for (int k = 0; k < dim; k++)
			along += (double)ray[k] * dray[k];
		for (int k = 0; c->length[j] > 0 && k < dim; k++) {
			float d = (float)((dray[k] - along * ray[k]) / c->length[j]);

			c->d[(size_t)j * dim + k] += d;
			c->d[(size_t)i * dim + k] -= d;
		}
	}
}

static double match_angles(struct objective *o, double weight, float *d)
{
	struct rkd *x = o->room;
	size_t count = (size_t)o->rows * o->inputs[Q].value.shape[1];
	double loss = 0;

#pragma omp parallel for schedule(dynamic)
	for (int k = 0; k < CHUNKS; k++) {
		struct chunk *c = &x->chunks[k];

		c->loss = 0;
		memset(c->d, 0, count * sizeof(float));
		for (int i = k; i < o->rows; i += CHUNKS)
			match_anchor(o, c, i, weight);
	}
	for (int k = 0; k < CHUNKS; k++) {
		loss += x->chunks[k].loss;
		for (size_t j = 0; j < count; j++)
			d[j] += x->chunks[k].d[j];
	}
	return loss;
}

int rkd_evaluate(struct objective *o)
{
	struct rkd *x = o->room;
	double far = choice_value(&o->choice, "distance"), wide = choice_value(&o->choice, "angle"), cross = 0, distance, angle;
	float *d = tensor_f32(&o->inputs[Q].gradient);

	if (o->input_count > LABEL && cross_entropy(&x->cross, o, &o->inputs[Q], &o->inputs[LABEL].value, 0, 1, &cross) < 0)
		return -1;
	distance = match_distances(o, far, d);
	angle = match_angles(o, wide, d);
	objective_set(o, "loss", far * distance + wide * angle + cross);
	if (o->input_count > LABEL)
		objective_set(o, "top1", x->cross.first);
	objective_set(o, "distance", distance);
	objective_set(o, "angle", angle);
	return 0;
}
