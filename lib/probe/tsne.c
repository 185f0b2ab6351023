#include "lib/probe/tsne.h"
#include "lib/base/progress.h"
#include "lib/probe/affinity.h"
#include "lib/probe/repulsion.h"

enum { EARLY = 250 };                  /* steps with exaggeration */
#define RATE_LEAST 50
#define GAIN_LEAST 0.01f

struct motion {
	float *speed, *gain;           /* (2 n) */
	float *pull, *push;            /* (2 n) */
};

static struct motion motion_new(int64_t n)
{
	return (struct motion){ xaligned(2 * n * sizeof(float)), xaligned(2 * n * sizeof(float)),
				xaligned(2 * n * sizeof(float)), xaligned(2 * n * sizeof(float)) };
}

static void motion_start(struct motion *m, int64_t n)
{
	for (int64_t i = 0; i < 2 * n; i++) {
		m->speed[i] = 0;
		m->gain[i] = 1;
	}
}

static void motion_free(struct motion *m)
{
	free(m->speed);
	free(m->gain);
	free(m->pull);
	free(m->push);
}

/* van der Maaten 2014, eq. 4 and 5; a gain grows where gradient and speed point the same way down. */
static void move(struct motion *m, int64_t n, float exaggeration, float z, float rate, float momentum, float *y)
{
	for (int64_t i = 0; i < 2 * n; i++) {
		float gradient = 4 * (exaggeration * m->pull[i] - m->push[i] / z);

		m->gain[i] = m->speed[i] * gradient < 0 ? m->gain[i] + 0.2f : m->gain[i] * 0.8f;
		m->gain[i] = MAX(m->gain[i], GAIN_LEAST);
		m->speed[i] = momentum * m->speed[i] - rate * m->gain[i] * gradient;
		y[i] += m->speed[i];
	}
}

double tsne_run(const struct tsne *t, const float *x, int64_t n, int64_t dim, float *y)
{
	double rate = t->rate > 0 ? t->rate : MAX(n / t->exaggeration / 4, RATE_LEAST), z, kl;
	struct repulsion *r = repulsion_new(n);
	struct motion m = motion_new(n);
	struct affinity a;

	affinity_make(&a, x, n, dim, t->perplexity);
	for (int step = 0; step < t->steps; step++) {
		bool early = step < EARLY;

		if (step == 0 || step == EARLY)
			motion_start(&m, n);
		affinity_pull(&a, y, m.pull);
		z = repulsion_run(r, y, t->theta, m.push);
		move(&m, n, early ? (float)t->exaggeration : 1, (float)z, (float)rate, early ? 0.5f : 0.8f, y);
		progress_show(step + 1, t->steps, "t-SNE of %lld samples  step %d of %d", (long long)n, step + 1, t->steps);
	}
	z = repulsion_run(r, y, 0, m.push);
	kl = affinity_divergence(&a, y, z);
	affinity_release(&a);
	repulsion_free(r);
	motion_free(&m);
	return kl;
}
