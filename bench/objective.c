/*
 * objective - times one loss on random embeddings: value, gradients, state
 *
 *	objective moco:t=0.1,k=65536 256 128
 *
 * A JSON line a step: ms, and mb, by how much the peak resident set has grown since before the loss was there.
 */
#include "lib/base/progress.h"
#include "lib/base/rng.h"
#include "lib/base/threads.h"
#include "lib/loss/loss.h"

#include <sys/resource.h>

static double peak_mb(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)u.ru_maxrss / 1000;
}

/* Everything the loss needs, one tensor a name. */
static int make_inputs(const struct choice *c, int64_t rows, int64_t dim, struct tensor *inputs)
{
	char names[LOSS_INPUTS][LOSS_NAME];
	int n = loss_needs(c, names);

	for (int i = 0; i < n; i++) {
		struct rng r = rng_at(0, 0, (uint32_t)i, 0, RNG_INIT);

		bool labels = strcmp(names[i], "label") == 0, shares = strcmp(names[i], "mix") == 0;

		inputs[i] = tensor_new(names[i], labels ? I32 : F32, labels || shares ? 1 : 2, (int64_t[]){ rows, dim });
		for (int64_t j = 0; j < tensor_count(&inputs[i]) && !labels; j++)
			tensor_f32(&inputs[i])[j] = (float)(shares ? rng_uniform(&r) : rng_normal(&r));
	}
	return n;
}

static int run(const struct choice *c, int64_t rows, int64_t dim)
{
	struct tensor inputs[LOSS_INPUTS];
	double before = peak_mb();
	int n = make_inputs(c, rows, dim, inputs);
	struct objective *o = objective_new(c, inputs, n, 0, 1281167);

	if (!o)
		return -1;
	for (int64_t step = 0;; step++) {
		double start = now();

		if (objective_step(o, step, inputs, n) < 0)
			return -1;
		printf("{\"ms\": %.3f, \"mb\": %.2f}\n", 1000 * (now() - start), peak_mb() - before);
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	struct choice c;
	int64_t rows, dim;

	argv0 = "objective";
	threads_passive(argv);
	threads_set(0);
	if (argc != 4 || parse_int(argv[2], &rows) < 0 || parse_int(argv[3], &dim) < 0)
		die(EXIT_USAGE, "usage: objective NAME[:KEY=VALUE,...] ROWS DIM");
	if (choice_parse(&c, &loss_table, argv[1]) < 0 || run(&c, rows, dim) < 0)
		die(why_code(), "%s", why());
	return 0;
}
