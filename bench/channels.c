/*
 * channels - milliseconds of forward and backward of a small network, all of whose layers have one number of channels
 *
 *	channels 57 [bf16]     a JSON line a step, for as long as it lives
 *
 * A dense 3x3 convolution, a depthwise one and a 1x1, batch norm and ReLU after each, at 28x28.
 */
#include "lib/base/progress.h"
#include "lib/base/threads.h"
#include "lib/nn/engine/net.h"

enum { SIZE = 28, BATCH = 32 };

static float *vector(int64_t n)
{
	return xaligned(n * sizeof(float));
}

int main(int argc, char **argv)
{
	int64_t c = 0;
	struct net *net;
	struct pass *pass;
	float *params, *grads, *buffers, *d;
	uint8_t *views = xcalloc(BATCH, SIZE * SIZE * 3);

	/* arguments */
	argv0 = "bench/channels";
	threads_passive(argv);
	threads_set(0);
	if (argc < 2 || argc > 3 || (argc > 2 && strcmp(argv[2], "bf16")) || parse_int(argv[1], &c) < 0 || c < 1 || c > 4096)
		die(EXIT_USAGE, "usage: channels N [bf16]");

	/* prepare */
	const struct row rows[] = {
		{ LAYER_CONV, { (int)c, 3, 1, 1, ACT_RELU, 1 } }, { LAYER_CONV, { (int)c, 3, 1, 1, ACT_RELU, 1 } },
		{ LAYER_DEPTHWISE, { 3, 1, 1, ACT_RELU, 1 } },    { LAYER_CONV, { (int)c, 1, 1, 0, ACT_RELU, 1 } },
		{ LAYER_MEANPOOL, { 0 } },
	};
	const struct arch arch = {
		.entry = { "channels", "", NULL }, .rows = rows, .count = ARRAY_SIZE(rows), .bn_eps = 1e-5, .bn_momentum = 0.1,
	};

	net = net_new(&(struct net_config){ .arch = &arch, .head = "none", .height = SIZE, .width = SIZE, .bf16 = argc > 2,
					    .mean = { .5, .5, .5 }, .std = { .2, .2, .2 } });
	if (!net)
		die(why_code(), "%s", why());
	params = vector(net_params(net)), grads = vector(net_params(net)), buffers = vector(net_buffers(net));
	d = vector(BATCH * net_width(net, OUTPUT_FEATURE));
	net_init(net, 1, params, buffers);
	for (int i = 0; i < BATCH * SIZE * SIZE * 3; i++)
		views[i] = (uint8_t)(i * 2654435761u >> 13);
	for (int i = 0; i < BATCH * net_width(net, OUTPUT_FEATURE); i++)
		d[i] = 1e-3f * (i % 7 - 3);
	pass = pass_new(plan_new(net, SIZE, SIZE), BATCH, true);

	/* measure */
	for (double start = now();; start = now()) {
		pass_forward(pass, params, buffers, views, BATCH, PASS_TRAIN);
		pass_backward(pass, params, (const float *[OUTPUTS]){ d }, grads);
		printf("{\"ms\": %.3f}\n", 1e3 * (now() - start));
		fflush(stdout);
	}
}
