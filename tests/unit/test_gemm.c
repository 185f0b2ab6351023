/*
 * Products in f32 against sums in double, by either library: random shapes, transposed factors, gaps between rows, alpha and
 * beta. What lies in the gaps stays as it is; with beta 0 so does nothing of C, whatever was there. The number of threads changes
 * no byte.
 */
#include "lib/base/base.h"
#include "lib/base/rng.h"
#include "lib/tensor/gemm.h"
#include "tests/check.h"

#include <math.h>

enum { CASES = 400, GAP = 3 };

typedef void multiply(bool, bool, int, int, int, float, const float *, int, const float *, int, float, float *, int);

struct product {
	bool trans_a, trans_b;
	int m, n, k, lda, ldb, ldc;
	float alpha, beta, *a, *b, *c;
};

static float *draw(struct rng *r, int64_t n)
{
	float *x = xaligned(n * sizeof(float));

	for (int64_t i = 0; i < n; i++)
		x[i] = (float)rng_normal(r);
	return x;
}

static struct product draw_product(int i)
{
	struct rng r = rng_at(5, 0, (uint32_t)i, 0, RNG_INIT);
	const float factors[] = { 0, 1, -0.5f };
	int most = i % 10 == 0 ? 600 : 70;
	int m = 1 + (int)rng_below(&r, most), n = 1 + (int)rng_below(&r, most), k = 1 + (int)rng_below(&r, most);
	struct product p = { i & 1, i & 2, m, n, k, 0, 0, 0, factors[1 + rng_below(&r, 2)], factors[rng_below(&r, 3)],
			     NULL, NULL, NULL };

	p.lda = (p.trans_a ? p.m : p.k) + GAP;
	p.ldb = (p.trans_b ? p.k : p.n) + GAP;
	p.ldc = p.n + GAP;
	p.a = draw(&r, (int64_t)(p.trans_a ? p.k : p.m) * p.lda);
	p.b = draw(&r, (int64_t)(p.trans_b ? p.n : p.k) * p.ldb);
	p.c = draw(&r, (int64_t)p.m * p.ldc);
	for (int64_t j = 0; p.beta == 0 && j < (int64_t)p.m * p.ldc; j++)
		p.c[j] = j % p.ldc < p.n ? NAN : p.c[j];
	return p;
}

static float *result(const struct product *p, multiply *by)
{
	size_t size = (size_t)p->m * p->ldc * sizeof(float);
	float *c = xaligned(size);

	memcpy(c, p->c, size);
	by(p->trans_a, p->trans_b, p->m, p->n, p->k, p->alpha, p->a, p->lda, p->b, p->ldb, p->beta, c, p->ldc);
	return c;
}

/* The largest error, in float's roundings of the sum of terms' sizes: random ones come to 1 at k terms in a row, 5 deviations
 * to 6. Infinite where a gap has changed. */
static double error_of(const struct product *p, const float *c)
{
	double worst = 0;

	for (int i = 0; i < p->m; i++)
		for (int j = 0; j < p->ldc; j++) {
			double sum = 0, size = 1e-30;
			int64_t at = (int64_t)i * p->ldc + j;

			for (int d = 0; d < p->k && j < p->n; d++) {
				double v = (double)p->a[p->trans_a ? (int64_t)d * p->lda + i : (int64_t)i * p->lda + d] *
					   p->b[p->trans_b ? (int64_t)j * p->ldb + d : (int64_t)d * p->ldb + j];

				sum += v;
				size += fabs(v);
			}
			if (j >= p->n && c[at] != p->c[at])
				return INFINITY;
			if (j >= p->n)
				continue;
			sum = p->alpha * sum + (p->beta ? p->beta * p->c[at] : 0);
			size += p->beta ? fabs(p->c[at]) : 0;
			if (!(fabs(c[at] - sum) <= worst * size))
				worst = isnan(c[at]) ? INFINITY : fabs(c[at] - sum) / size;
		}
	return worst * 0x1p24;
}

static void release(struct product *p)
{
	free(p->a);
	free(p->b);
	free(p->c);
}

static void test_against_double(const char *name, multiply *by)
{
	double worst = 0;
	int bad = 0;

	for (int i = 0; i < CASES; i++) {
		struct product p = draw_product(i);
		float *c = result(&p, by);
		double error = error_of(&p, c);

		bad += error > 8;
		worst = fmax(worst, error);
		free(c);
		release(&p);
	}
	check(name, bad == 0, "%d of %d are not, by up to %.1f roundings", bad, CASES, worst);
}

/* From a thread among others, and from one that might have called others to help. */
static void test_threads(const char *name, multiply *by)
{
	int differ = 0;

	for (int i = 0; i < CASES; i += 10) {
		struct product p = draw_product(i);
		size_t size = (size_t)p.m * p.ldc * sizeof(float);
		float *alone = result(&p, by), *among[2];

#pragma omp parallel for num_threads(2)
		for (int t = 0; t < 2; t++)
			among[t] = result(&p, by);
		differ += memcmp(alone, among[0], size) || memcmp(alone, among[1], size);
		free(alone), free(among[0]), free(among[1]);
		release(&p);
	}
	check(name, differ == 0, "%d of %d differ", differ, CASES / 10);
}

int main(void)
{
	test_against_double("products by OpenBLAS are as in double precision", gemm_blas);
	test_against_double("products by the faster library are as in double precision", gemm);
	test_threads("products by OpenBLAS have the same bytes in a team of threads", gemm_blas);
	test_threads("products by the faster library have the same bytes in a team of threads", gemm);
	return check_done();
}
