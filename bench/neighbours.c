/*
 * neighbours - times the nearest-neighbour probe on random features
 *
 *	neighbours 50000 10000 512 10
 *
 * A JSON line a run: ms for training samples, test samples, width, classes; mb, by how much the peak resident set has grown.
 */
#include "lib/base/progress.h"
#include "lib/base/rng.h"
#include "lib/base/threads.h"
#include "lib/probe/knn.h"

#include <sys/resource.h>

static double peak_mb(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)u.ru_maxrss / 1000;
}

/* Unit normal around 0; labels by draw. */
static float *make(int64_t count, int64_t dim, int classes, int view, int32_t **label)
{
	float *x = xaligned(count * dim * sizeof(float));

	*label = xcalloc(count, sizeof(**label));
#pragma omp parallel for
	for (int64_t i = 0; i < count; i++) {
		struct rng r = rng_at(0, 0, (uint32_t)i, (uint16_t)view, RNG_PROBE);

		(*label)[i] = (int32_t)rng_below(&r, (uint32_t)classes);
		for (int64_t d = 0; d < dim; d++)
			x[i * dim + d] = (float)rng_normal(&r);
	}
	return x;
}

static void run(int64_t train, int64_t test, int64_t dim, int64_t classes)
{
	int32_t *train_label, *test_label;
	float *a = make(train, dim, (int)classes, 0, &train_label), *b = make(test, dim, (int)classes, 1, &test_label);
	struct labelled sets = { a, train, train_label, b, test, test_label, dim, (int)classes };
	double before = peak_mb();

	for (;;) {
		double start = now();
		struct knn_result r;

		knn_run(&sets, 200, 0.1, 21, &r);
		printf("{\"ms\": %.1f, \"mb\": %.1f, \"top1\": %.2f}\n", 1000 * (now() - start), peak_mb() - before, r.top1);
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	int64_t n[4];

	argv0 = "neighbours";
	threads_passive(argv);
	threads_set(0);
	for (int i = 0; i < 4; i++)
		if (argc != 5 || parse_int(argv[i + 1], &n[i]) < 0 || n[i] < 1)
			die(EXIT_USAGE, "usage: neighbours TRAIN TEST DIM CLASSES");
	run(n[0], n[1], n[2], n[3]);
	return 0;
}
