/*
 * one_step - milliseconds of one contrastive training step: query forward and backward, key forward, SGD, EMA
 *
 *	build/release/bench/one_step ARCH SIZE BATCH small|full [BACKEND [STEPS [f32|bf16]]]
 *
 * One JSON object: medians over the steps, and the rate of the products (forward once for query and once
 * for key, backward twice a forward).
 */
#include "lib/base/progress.h"
#include "lib/base/threads.h"
#include "lib/nn/engine/engine.h"
#include "lib/nn/engine/meter.h"
#include "lib/nn/train/ema.h"
#include "lib/nn/train/optimiser.h"

#include <time.h>

enum part { FORWARD, BACKWARD, KEY, SGD, EMA, PARTS };
static const char *const part_names[PARTS] = { "forward", "backward", "key", "sgd", "ema" };

struct bench {
	struct net *net;
	struct plan *plan;
	struct pass *query, *key;
	struct optimiser sgd;
	float *params, *grads, *key_params, *buffers, *key_buffers, *d_head;
	uint8_t *views;
	int batch;
};

static float *vector(int64_t n)
{
	return xaligned(n * sizeof(float));
}

static int prepare(struct bench *b, char **argv, const char *backend, bool bf16)
{
	struct net_config c = { .arch = arch_find(argv[1]),
				.small = !strcmp(argv[4], "small"),
				.head = "simple",
				.dim = 128,
				.height = atoi(argv[2]),
				.width = atoi(argv[2]),
				.mean = { .5, .5, .5 },
				.std = { .2, .2, .2 },
				.bf16 = bf16,
				.backend = backend };
	const struct net_tensor *tensors;
	struct choice sgd;
	size_t size;
	int count;

	b->batch = atoi(argv[3]);
	if (!c.arch)
		return fail("unknown architecture '%s'", argv[1]);
	b->net = net_new(&c);
	if (!b->net || choice_parse(&sgd, &optimiser_table, "sgd") < 0)
		return -1;
	count = net_tensors(b->net, &tensors);
	optimiser_init(&b->sgd, &sgd, 0, tensors, count);
	b->plan = plan_new(b->net, c.height, c.width);
	b->query = pass_new(b->plan, b->batch, true);
	b->key = pass_new(b->plan, b->batch, false);
	b->params = vector(net_params(b->net));
	b->grads = vector(net_params(b->net));
	b->key_params = vector(net_params(b->net));
	b->buffers = vector(net_buffers(b->net));
	b->key_buffers = vector(net_buffers(b->net));
	b->d_head = vector((int64_t)b->batch * c.dim);
	size = (size_t)b->batch * c.height * c.width * 3;
	b->views = xmalloc(size);
	for (size_t i = 0; i < size; i++)
		b->views[i] = (uint8_t)(i * 2654435761u >> 13);
	for (int i = 0; i < b->batch * c.dim; i++)
		b->d_head[i] = 1e-3f * (i % 7 - 3);
	net_init(b->net, 1, b->params, b->buffers);
	net_init(b->net, 1, b->key_params, b->key_buffers);
	return 0;
}

static void step(struct bench *b, int64_t number, double *ms)
{
	double t[PARTS + 1];
	int64_t n = net_params(b->net);

	t[0] = now();
	pass_forward(b->query, b->params, NULL, b->views, b->batch, PASS_TRAIN);
	t[1] = now();
	memset(b->grads, 0, n * sizeof(float));
	pass_backward(b->query, b->params, (const float *[OUTPUTS]){ [OUTPUT_HEAD] = b->d_head }, b->grads);
	t[2] = now();
	pass_forward(b->key, b->key_params, NULL, b->views, b->batch, PASS_KEY);
	t[3] = now();
	optimiser_step(&b->sgd, 0.01, number, b->params, b->grads);
	t[4] = now();
	ema_update(n, 0.99, b->params, b->key_params);
	t[5] = now();
	for (int i = 0; i < PARTS; i++)
		ms[i] = 1e3 * (t[i + 1] - t[i]);
}

/* Processor time of all threads: what to compare on a machine that others use too. */
static double cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return 1e3 * t.tv_sec + 1e-6 * t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *x, int n)
{
	qsort(x, n, sizeof(*x), by_value);
	return x[n / 2];
}

int main(int argc, char **argv)
{
	enum { STEPS_MAX = 100 };
	static double ms[PARTS + 1][STEPS_MAX], cpu[STEPS_MAX];
	struct bench b = { 0 };
	int steps = argc > 6 ? MIN(atoi(argv[6]), STEPS_MAX) : 5;

	argv0 = "one_step";
	threads_passive(argv);
	threads_set(0);
	if (argc < 5)
		die(EXIT_USAGE, "usage: one_step ARCH SIZE BATCH small|full [BACKEND [STEPS [f32|bf16]]]");
	if (prepare(&b, argv, argc > 5 ? argv[5] : NULL, argc > 7 && !strcmp(argv[7], "bf16")) < 0)
		die(why_code(), "%s", why());
	for (int i = -1; i < steps; i++) {
		double part[PARTS], sum = 0, before = cpu_ms();

		step(&b, i + 1, part);
		if (i >= 0)
			cpu[i] = cpu_ms() - before;
		for (int k = 0; k < PARTS && i >= 0; k++)
			sum += ms[k][i] = part[k];
		if (i >= 0)
			ms[PARTS][i] = sum;
	}
	printf("{\"arch\":\"%s\",\"size\":%s,\"batch\":%d,\"small\":%s,\"backend\":\"%s\",\"precision\":\"%s\",\"ms\":%.1f",
	       argv[1], argv[2], b.batch, strcmp(argv[4], "small") ? "false" : "true", net_configuration(b.net)->backend,
	       net_configuration(b.net)->bf16 ? "bf16" : "f32", median(ms[PARTS], steps));
	for (int k = 0; k < PARTS; k++)
		printf(",\"%s\":%.1f", part_names[k], median(ms[k], steps));
	printf(",\"cpu_ms\":%.1f,\"gflops\":%.1f,\"pass_mb\":%.0f}\n", median(cpu, steps),
	       4 * plan_flops(b.plan) * b.batch / median(ms[PARTS], steps) * 1e-6,
	       (pass_bytes(b.query) + pass_bytes(b.key)) / 1e6);
	return 0;
}
