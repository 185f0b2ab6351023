/*
 * plane - times t-SNE of random features in groups
 *
 *	plane 5000 50
 *
 * A JSON line a run: ms for samples and width, 1000 steps, perplexity 30; kl, the divergence that is left. bench/tsne.py
 * makes features by the same rule.
 */
#include "lib/base/isa.h"
#include "lib/base/progress.h"
#include "lib/base/rng.h"
#include "lib/base/threads.h"
#include "lib/probe/pca.h"
#include "lib/probe/tsne.h"

enum { GROUPS = 10 };

/* Unit normal around one of ten centres, which are twice unit normal. */
static float *make(int64_t count, int64_t dim)
{
	float *x = xaligned(count * dim * sizeof(float));

	for (int64_t i = 0; i < count; i++) {
		struct rng r = rng_at(0, 0, (uint32_t)i, 0, RNG_PROBE);
		struct rng centre = rng_at(1, 0, (uint32_t)(i % GROUPS), 0, RNG_PROBE);

		for (int64_t d = 0; d < dim; d++)
			x[i * dim + d] = (float)(rng_normal(&r) + 2 * rng_normal(&centre));
	}
	return x;
}

static void run(int64_t n, int64_t dim)
{
	float *x = make(n, dim), *y = xaligned(2 * n * sizeof(float));
	struct tsne t = { .perplexity = 30, .exaggeration = 12, .theta = 0.5, .steps = 1000 };

	for (;;) {
		double start = now(), kl;
		struct pca p;

		if (pca_run(x, n, dim, 2, &p) < 0)
			die(why_code(), "%s", why());
		for (int64_t i = 0; i < 2 * n; i++)
			y[i] = 1e-5f * p.scores[i % n * 2 + i / n];
		pca_release(&p);
		kl = tsne_run(&t, x, n, dim, y);
		printf("{\"ms\": %.1f, \"kl\": %.4f}\n", 1000 * (now() - start), kl);
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	int64_t n[2];

	argv0 = "plane";
	verbosity = -1;
	threads_passive(argv);
	threads_set(0);
	for (int i = 0; i < 2; i++)
		if (argc != 3 || parse_int(argv[i + 1], &n[i]) < 0 || n[i] < 100 - 98 * i)
			die(EXIT_USAGE, "usage: plane SAMPLES DIM");
	if (isa_init() < 0)
		die(why_code(), "%s", why());
	run(n[0], n[1]);
	return 0;
}
