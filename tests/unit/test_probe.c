/* The parts under the probes: heap, factorisation, minimiser. */
#include "lib/base/rng.h"
#include "lib/probe/features.h"
#include "lib/probe/lbfgs.h"
#include "lib/probe/nearest.h"
#include "lib/probe/solve.h"
#include "tests/check.h"

#include <math.h>

struct scored {
	float score;
	int index;
};

static int descending(const void *a, const void *b)
{
	const struct scored *x = a, *y = b;

	return x->score != y->score ? (x->score < y->score) - (x->score > y->score)
				    : (x->index > y->index) - (x->index < y->index);
}

/* Many equal scores, of both signs, several offers, against a sort. */
static void test_nearest(int n, int k)
{
	float *x = xmalloc(n * sizeof(*x)), *scale = xmalloc(n * sizeof(*x)), *shift = xmalloc(n * sizeof(*x));
	struct scored *all = xmalloc(n * sizeof(*all));
	struct nearest h = { .keys = xcalloc(NEAREST_ROOM(k), sizeof(nearest_key)), .k = k };
	struct rng r = rng_at(1, 0, (uint32_t)n, 0, RNG_PROBE);
	bool same = true;

	for (int i = 0; i < n; i++) {
		x[i] = (float)rng_below(&r, 50);
		scale[i] = 1 + (float)rng_below(&r, 2);
		shift[i] = -(float)rng_below(&r, 200);
		all[i] = (struct scored){ x[i] * scale[i] + shift[i], i };
	}
	nearest_clear(&h);
	for (int i = 0; i < n; i += 100)
		nearest_offer(&h, x + i, scale + i, shift + i, MIN(100, n - i), i);
	nearest_sort(&h);
	qsort(all, n, sizeof(*all), descending);
	for (int i = 0; i < h.count; i++)
		same = same && nearest_score(h.keys[i]) == all[i].score && nearest_index(h.keys[i]) == all[i].index;
	check("the nearest, in order", same && h.count == MIN(n, k), "of %d, %d", n, k);
	free(x);
	free(scale);
	free(shift);
	free(all);
	free(h.keys);
}

static void test_solve(int n, int m)
{
	float *a = xaligned(n * n * sizeof(float)), *l = xaligned(n * n * sizeof(float));
	float *b = xaligned(n * m * sizeof(float)), *x = xaligned(n * m * sizeof(float));
	struct rng r = rng_at(2, 0, (uint32_t)n, 0, RNG_PROBE);
	double worst = 0;

	for (int i = 0; i < n; i++)
		for (int j = 0; j <= i; j++)
			a[i * n + j] = a[j * n + i] = (float)(i == j ? n : rng_between(&r, -1, 1));
	for (int i = 0; i < n * m; i++)
		b[i] = (float)rng_between(&r, -1, 1);
	memcpy(l, a, n * n * sizeof(float));
	memcpy(x, b, n * m * sizeof(float));
	check("a positive definite matrix has a factor", solve_factor(l, n) == 0, "n=%d", n);
	solve_with(l, n, x, m);
	for (int i = 0; i < n; i++)
		for (int c = 0; c < m; c++) {
			double sum = 0;

			for (int j = 0; j < n; j++)
				sum += (double)a[i * n + j] * x[j * m + c];
			worst = MAX(worst, fabs(sum - b[i * m + c]));
		}
	check("and solves its system", worst < 1e-5, "n=%d m=%d: off by %g", n, m, worst);
	l[0] = -1;
	check("another has none", solve_factor(l, n) < 0, "n=%d", n);
	free(a);
	free(l);
	free(b);
	free(x);
}

/* sum_i c_i (cosh(x_i - i) - 1), badly scaled. */
static double bowl(void *arg, const float *x, float *gradient)
{
	int n = *(int *)arg;
	double sum = 0;

	for (int i = 0; i < n; i++) {
		double c = pow(10, i % 4);

		sum += c * (cosh(x[i] - i) - 1);
		gradient[i] = (float)(c * sinh(x[i] - i));
	}
	return sum;
}

static void leave(void *arg, float *v)
{
	(void)arg;
	(void)v;
}

static void test_lbfgs(void)
{
	int n = 8;
	float x[8] = { 0 };
	struct lbfgs *m = lbfgs_new(n, bowl, leave, &n);
	double f = lbfgs_run(m, x, 300, 1e-12), worst = 0;

	for (int i = 0; i < n; i++)
		worst = MAX(worst, fabs(x[i] - i));
	check("L-BFGS finds the bottom of a bowl", f < 1e-6 && worst < 1e-3, "value %g, off by %g", f, worst);
	lbfgs_free(m);
}

static void test_features(void)
{
	uint8_t pixels[2 * 2 * 2 * 3] = { 0, 51, 255 };
	int32_t label[2] = { 3, 4 }, split[2] = { 1, 0 };
	int64_t index[2] = { 10, 11 };
	struct tensor batch[] = {
		tensor_borrow("view0", U8, 4, (int64_t[]){ 2, 2, 2, 3 }, pixels),
		tensor_borrow("label", I32, 1, (int64_t[]){ 2 }, label),
		tensor_borrow("split", I32, 1, (int64_t[]){ 2 }, split),
		tensor_borrow("index", I64, 1, (int64_t[]){ 2 }, index),
	};
	struct features f;

	features_init(&f, "view", 12, 1, 0);
	check("a batch is taken", features_add(&f, batch, 4) == 0, "%s", why());
	check("pixels are features too", f.set[TEST].x[0][1] == 0.2f && f.set[TEST].x[0][2] == 1, "%g", f.set[TEST].x[0][1]);
	check("samples go to their split", f.set[TRAIN].label[0] == 4 && f.set[TEST].index[0] == 10, "they do not");
	check("a missing column is named", features_add(&f, batch, 3) < 0 && strstr(why(), "'index'"), "%s", why());
	split[0] = 2;
	check("an unknown split is refused", features_add(&f, batch, 4) < 0, "it is not");
	check("what cannot fit is misuse", features_fit(&f, (int64_t)1 << 50) < 0 && why_code() == EXIT_USAGE, "it is not");
	features_release(&f);
}

/* Columns 0, 2 and 3 are equal: one of them stays, sqrt(3) times as large, and products of rows are what they were. */
static void test_fold(void)
{
	float x[3 * 4] = { 1, 5, 1, 1, 2, -1, 2, 2, -4, 3, -4, -4 };
	int32_t label[3] = { 0, 1, 0 }, split[3] = { 0, 0, 1 };
	int64_t index[3] = { 7, 8, 9 };
	struct tensor batch[] = {
		tensor_borrow("feature0", F32, 2, (int64_t[]){ 3, 4 }, x),
		tensor_borrow("label", I32, 1, (int64_t[]){ 3 }, label),
		tensor_borrow("split", I32, 1, (int64_t[]){ 3 }, split),
		tensor_borrow("index", I64, 1, (int64_t[]){ 3 }, index),
	};
	struct features f;
	const float *a, *b;

	features_init(&f, "feature", 4, 1, 0);
	features_add(&f, batch, 4);
	features_fold(&f);
	a = f.set[TRAIN].x[0];
	b = f.set[TEST].x[0];
	check("equal columns become one", f.dim == 2, "%d are left", (int)f.dim);
	check("and products stay", fabsf(a[2] * b[0] + a[3] * b[1] - -27) < 1e-5f && fabsf(a[0] * a[2] + a[1] * a[3] - 1) < 1e-5f,
	      "%g %g", a[2] * b[0] + a[3] * b[1], a[0] * a[2] + a[1] * a[3]);
	features_fold(&f);
	check("what has no equal stays as it is", f.dim == 2 && a[1] == 5, "%d", (int)f.dim);
	x[9] = NAN;
	index[2] = 4711;
	features_release(&f);
	features_init(&f, "feature", 4, 1, 0);
	check("what is not finite is refused by the image's number",
	      features_add(&f, batch, 4) < 0 && strstr(why(), "'feature0'") && strstr(why(), "image 4711 (row 2"), "%s", why());
	features_release(&f);
}

int main(void)
{
	test_nearest(1, 5);
	test_nearest(130, 64);
	test_nearest(5000, 201);
	test_solve(1, 1);
	test_solve(64, 3);
	test_solve(200, 10);
	test_lbfgs();
	test_features();
	test_fold();
	return check_done();
}
