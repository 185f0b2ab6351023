#include "lib/probe/lbfgs.h"

#include <math.h>

enum { PAIRS = 10, HALVINGS = 30 };

struct lbfgs {
	int64_t n;
	lbfgs_value *value;
	lbfgs_precondition *precondition;
	void *arg;
	float *s[PAIRS], *y[PAIRS];   /* steps and changes of the gradient, newest at (count - 1) % PAIRS */
	double rho[PAIRS];
	int64_t count;
	float *gradient, *way, *next, *next_gradient;
};

struct lbfgs *lbfgs_new(int64_t n, lbfgs_value *value, lbfgs_precondition *precondition, void *arg)
{
	struct lbfgs *m = xcalloc(1, sizeof(*m));

	*m = (struct lbfgs){ .n = n, .value = value, .precondition = precondition, .arg = arg };
	for (int i = 0; i < PAIRS; i++) {
		m->s[i] = xaligned(n * sizeof(float));
		m->y[i] = xaligned(n * sizeof(float));
	}
	m->gradient = xaligned(n * sizeof(float));
	m->way = xaligned(n * sizeof(float));
	m->next = xaligned(n * sizeof(float));
	m->next_gradient = xaligned(n * sizeof(float));
	return m;
}

void lbfgs_free(struct lbfgs *m)
{
	for (int i = 0; i < PAIRS; i++) {
		free(m->s[i]);
		free(m->y[i]);
	}
	free(m->gradient);
	free(m->way);
	free(m->next);
	free(m->next_gradient);
	free(m);
}

static double dot(const float *a, const float *b, int64_t n)
{
	double sum = 0;

#pragma omp simd reduction(+ : sum)
	for (int64_t i = 0; i < n; i++)
		sum += (double)a[i] * b[i];
	return sum;
}

static void add(float *to, double times, const float *x, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		to[i] += (float)times * x[i];
}

/* way := - (inverse Hessian as the pairs know it) gradient: the two loops. */
static void choose_way(struct lbfgs *m)
{
	int64_t first = MAX(0, m->count - PAIRS);
	double alpha[PAIRS];

	for (int64_t i = 0; i < m->n; i++)
		m->way[i] = -m->gradient[i];
	for (int64_t k = m->count - 1; k >= first; k--) {
		int i = (int)(k % PAIRS);

		alpha[i] = m->rho[i] * dot(m->s[i], m->way, m->n);
		add(m->way, -alpha[i], m->y[i], m->n);
	}
	m->precondition(m->arg, m->way);
	if (m->count > 0) { /* scaled to agree with the newest pair: s.y / y.By */
		int i = (int)((m->count - 1) % PAIRS);
		double scale;

		memcpy(m->next, m->y[i], m->n * sizeof(float));
		m->precondition(m->arg, m->next);
		scale = 1 / (m->rho[i] * dot(m->y[i], m->next, m->n));
		for (int64_t j = 0; j < m->n; j++)
			m->way[j] *= (float)scale;
	}
	for (int64_t k = first; k < m->count; k++) {
		int i = (int)(k % PAIRS);

		add(m->way, alpha[i] - m->rho[i] * dot(m->y[i], m->way, m->n), m->s[i], m->n);
	}
}

/* Along way from x with value f: fills next and next_gradient; the new value, or f when no step helps. */
static double search(struct lbfgs *m, const float *x, double f)
{
	double slope = dot(m->gradient, m->way, m->n), step = 1;

	for (int i = 0; i < HALVINGS && slope < 0; i++, step /= 2) {
		double value;

		memcpy(m->next, x, m->n * sizeof(float));
		add(m->next, step, m->way, m->n);
		value = m->value(m->arg, m->next, m->next_gradient);
		if (value <= f + 1e-4 * step * slope)
			return value;
	}
	return f;
}

/* Keeps the pair of the step just made, unless it shows no curvature; moves to next. */
static void move(struct lbfgs *m, float *x)
{
	int i = (int)(m->count % PAIRS);
	double curvature;

	for (int64_t j = 0; j < m->n; j++) {
		m->s[i][j] = m->next[j] - x[j];
		m->y[i][j] = m->next_gradient[j] - m->gradient[j];
	}
	curvature = dot(m->s[i], m->y[i], m->n);
	if (curvature > 1e-12 * dot(m->y[i], m->y[i], m->n)) {
		m->rho[i] = 1 / curvature;
		m->count++;
	}
	memcpy(x, m->next, m->n * sizeof(float));
	memcpy(m->gradient, m->next_gradient, m->n * sizeof(float));
}

double lbfgs_run(struct lbfgs *m, float *x, int iterations, double tolerance)
{
	double f = m->value(m->arg, x, m->gradient);

	m->count = 0;
	for (int i = 0; i < iterations; i++) {
		double next;

		choose_way(m);
		next = search(m, x, f);
		if (!(next < f))
			break;
		move(m, x);
		if (f - next < tolerance * f) {
			f = next;
			break;
		}
		f = next;
	}
	return f;
}
