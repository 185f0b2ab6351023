/*
 * Convolutions of whole images by the backend's own kernels, where it has such: each way against sums in double, for every number
 * of images that one order of filters serves, whatever lay in the arrays before. Threads that make the same kernels at the same
 * moment get the bytes that one thread gets: a library's first steps are tried in many processes.
 */
#include "lib/base/base.h"
#include "lib/base/rng.h"
#include "lib/tensor/backend.h"
#include "tests/check.h"

#include <math.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { IMAGES = 2, BEGINNINGS = 100 };

static const char *const way_names[CONV_WAYS] = { "output", "input's gradient", "weight's gradient" };

struct trial {
	struct conv c;
	int64_t in, weight, out;   /* floats */
	float *x, *w, *y;
};

static float *draw(struct rng *r, int64_t n)
{
	float *x = xaligned(n * sizeof(float));

	for (int64_t i = 0; i < n; i++)
		x[i] = (float)rng_normal(r);
	return x;
}

static struct trial trial_new(const struct conv *c)
{
	struct rng r = rng_at(5, 0, (uint32_t)c->in_c, 0, RNG_INIT);
	struct trial t = { .c = *c, .in = (int64_t)c->images * c->in_h * c->in_w * c->in_c,
			   .weight = (int64_t)c->k * c->k * c->in_c * c->out_c,
			   .out = (int64_t)c->images * c->out_h * c->out_w * c->out_c };

	t.x = draw(&r, t.in);
	t.w = draw(&r, t.weight);
	t.y = draw(&r, t.out);
	return t;
}

static void trial_free(struct trial *t)
{
	free(t->x);
	free(t->w);
	free(t->y);
}

static int64_t result_count(const struct trial *t)
{
	return t->c.way == CONV_OUTPUT ? t->out : t->c.way == CONV_INPUT ? t->in : t->weight;
}

/* Into result, which like the filters was full of NaN. */
static void convolve(const struct backend *b, void *room, const struct trial *t, size_t bytes, float *result)
{
	const struct conv *c = &t->c;
	float *filters = xaligned(bytes);

	memset(filters, 0xff, bytes);
	memset(result, 0xff, result_count(t) * sizeof(float));
	if (c->way != CONV_WEIGHT)
		b->convolver->order(room, c, t->w, filters);
	b->convolver->convolve(room, c, c->way == CONV_INPUT ? result : t->x, filters, c->way == CONV_OUTPUT ? result : t->y);
	if (c->way == CONV_WEIGHT) {
		memset(result, 0, t->weight * sizeof(float));
		b->convolver->order(room, c, result, filters);
	}
	free(filters);
}

/* --- against double --- */

/* Every result, and the sum of its terms' sizes. */
static void sum_up(const struct trial *t, double *sum, double *size)
{
	const struct conv *c = &t->c;

	for (int64_t o = 0; o < t->out; o++) {
		int oc = (int)(o % c->out_c), col = (int)(o / c->out_c % c->out_w);
		int row = (int)(o / c->out_c / c->out_w % c->out_h);
		int64_t image = o / c->out_c / c->out_w / c->out_h;

		for (int tap = 0; tap < c->k * c->k; tap++) {
			int y = row * c->stride - c->pad + tap / c->k, x = col * c->stride - c->pad + tap % c->k;

			for (int ic = 0; ic < c->in_c && y >= 0 && x >= 0 && y < c->in_h && x < c->in_w; ic++) {
				int64_t i = ((image * c->in_h + y) * c->in_w + x) * c->in_c + ic;
				int64_t w = ((int64_t)tap * c->in_c + ic) * c->out_c + oc;
				int64_t at = c->way == CONV_OUTPUT ? o : c->way == CONV_INPUT ? i : w;
				double first = c->way == CONV_INPUT ? t->y[o] : t->x[i];
				double v = first * (c->way == CONV_WEIGHT ? t->y[o] : t->w[w]);

				sum[at] += v;
				size[at] += fabs(v);
			}
		}
	}
}

/* The largest error, in float's roundings of the sum of the terms' sizes. */
static double error_of(const struct backend *b, void *room, const struct conv *c, size_t bytes)
{
	struct trial t = trial_new(c);
	int64_t n = result_count(&t);
	double *sum = xcalloc(n, sizeof(*sum)), *size = xcalloc(n, sizeof(*size)), worst = 0;
	float *result = xaligned(n * sizeof(float));

	convolve(b, room, &t, bytes, result);
	sum_up(&t, sum, size);
	for (int64_t i = 0; i < n; i++)
		if (!(fabs(result[i] - sum[i]) <= worst * size[i]))
			worst = isnan(result[i]) ? INFINITY : fabs(result[i] - sum[i]) / (size[i] + 1e-30);
	free(sum), free(size), free(result);
	trial_free(&t);
	return worst * 0x1p24;
}

static struct conv conv_of(int way, int images, const int *s)
{
	int pad = s[3] / 2, out = (s[2] + 2 * pad - s[3]) / s[4] + 1;

	return (struct conv){ way, images, s[2], s[2], s[0], out, out, s[1], s[3], s[4], pad };
}

/* Channels in and out, pixels a side, of the window, apart. */
static void test_against_double(const struct backend *b)
{
	static const int shapes[][5] = {
		{ 3, 16, 33, 3, 2 }, { 3, 64, 20, 7, 2 }, { 64, 64, 16, 3, 1 }, { 32, 64, 16, 3, 2 }, { 128, 128, 8, 3, 1 },
		{ 64, 128, 4, 3, 1 }, { 13, 29, 9, 3, 1 }, { 48, 20, 11, 5, 2 },
	};
	void *room = b->open();

	for (int i = 0; i < ARRAY_SIZE(shapes); i++)
		for (int way = 0; way < CONV_WAYS; way++) {
			const int *s = shapes[i];
			struct conv c = conv_of(way, IMAGES, s);
			size_t bytes = b->convolver->filters(room, &c);
			double worst = 0;
			char name[128];

			for (; bytes && c.images; c.images /= 2)
				worst = fmax(worst, error_of(b, room, &c, bytes));
			format(name, sizeof(name), "%s of a %dx%d convolution, %d to %d channels, %d pixels, stride %d%s",
			       way_names[way], s[3], s[3], s[0], s[1], s[2], s[4], bytes ? "" : ": left to products");
			check(name, worst < 8, "%.1f roundings away", worst);
		}
	b->close(room);
}

/* --- the first of a process --- */

static const int first[5] = { 128, 128, 16, 3, 1 };

/* In a process of its own: one thread leaves the result, two that differ from it end with 1. */
static bool begin(const struct backend *b, const struct trial *t, float *result, int threads)
{
	size_t size = result_count(t) * sizeof(float), bytes = 2 * t->weight * sizeof(float);
	int status, differ = 0;
	pid_t p = fork();

	if (p == 0) {
#pragma omp parallel num_threads(threads) reduction(+ : differ)
		{
			float *mine = threads == 1 ? result : xaligned(size);
			void *room = b->open();

#pragma omp barrier
			convolve(b, room, t, bytes, mine);
			differ += memcmp(mine, result, size) != 0;
		}
		_exit(differ != 0);
	}
	return waitpid(p, &status, 0) == p && status == 0;
}

static void test_beginnings(const struct backend *b)
{
	for (int way = 0; way < CONV_WAYS; way++) {
		struct conv c = conv_of(way, 1, first);
		struct trial t = trial_new(&c);
		size_t size = result_count(&t) * sizeof(float);
		float *result = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		char name[96];
		int bad = !begin(b, &t, result, 1);

		for (int i = 0; i < BEGINNINGS; i++)
			bad += !begin(b, &t, result, 2);
		format(name, sizeof(name), "two threads begin as one does: %s", way_names[way]);
		check(name, bad == 0, "%d of %d processes differ or die", bad, BEGINNINGS);
		munmap(result, size);
		trial_free(&t);
	}
}

static bool has_kernels(const struct backend *b)
{
	struct conv c = conv_of(CONV_INPUT, 1, first);
	int status;
	pid_t p;

	if (!b->convolver)
		return false;
	p = fork();
	if (p == 0)
		_exit(b->convolver->filters(b->open(), &c) == 0);
	return waitpid(p, &status, 0) == p && status == 0;
}

int main(void)
{
	const struct backend *b = backend_find(NULL);

	if (!has_kernels(b)) {
		check_skip("convolutions of whole images", "the backend has no kernels for them here");
		return check_done();
	}
	test_beginnings(b);   /* before this process has threads, which a fork loses */
	test_against_double(b);
	return check_done();
}
