#include "lib/tensor/rates.h"

#include "lib/base/progress.h"
#include "lib/tensor/amx.h"

#include <omp.h>

double rate_of_memory(void)
{
	enum { FLOATS = 16 << 20, TIMES = 7 };
	float *a = xaligned(3 * (size_t)FLOATS * sizeof(float)), *b = a + FLOATS, *c = b + FLOATS;
	double best = 0;

	for (int i = 0; i < TIMES; i++) {
		double start = now();

#pragma omp parallel for simd schedule(static)
		for (int j = 0; j < FLOATS; j++)
			a[j] = b[j] + 3 * c[j];
		best = MAX(best, 3.0 * FLOATS * sizeof(float) / (now() - start));
	}
	free(a);
	return best;
}

enum { PRODUCT_M = 384, PRODUCT_N = 256, PRODUCT_K = 512, PRODUCT_TIMES = 8 };

/* Each thread multiplies factors of its own, which stay in its cache; AMX's right one is packed, whatever it holds. */
static void multiply_often(const struct backend *b, void *room, enum dtype e, char *factors)
{
	void (*multiply)(void *room, const struct product *p) = b->amx ? b->amx->multiply : b->multiply;
	size_t size = element_size(e);
	struct product p = { .element = e, .m = PRODUCT_M, .n = PRODUCT_N, .k = PRODUCT_K, .a = factors,
			     .lda = PRODUCT_K, .b = factors + PRODUCT_M * PRODUCT_K * size, .ldb = PRODUCT_N, .ldc = PRODUCT_N,
			     .c = (float *)(factors + (PRODUCT_M + PRODUCT_N) * PRODUCT_K * size) };

	for (int i = 0; i < PRODUCT_TIMES; i++)
		multiply(room, &p);
}

double rate_of_products(const struct backend *backend, enum dtype e, int threads)
{
	enum { TIMES = 20 };
	size_t sums = PRODUCT_M * PRODUCT_N * sizeof(float);
	size_t bytes = ((PRODUCT_M + PRODUCT_N) * PRODUCT_K * element_size(e) + sums + 63) / 64 * 64;
	char *factors = xaligned(threads * bytes);
	double best = 0;

	for (int i = 0; i < TIMES; i++) {
		double start = 0;

#pragma omp parallel num_threads(threads)
		{
			int thread = omp_get_thread_num();
			void *room = backend->open();

			multiply_often(backend, room, e, factors + thread * bytes);   /* made for the shape at the first time */
#pragma omp barrier
#pragma omp master
			start = now();
#pragma omp barrier
			multiply_often(backend, room, e, factors + thread * bytes);
#pragma omp barrier
#pragma omp master
			best = MAX(best, 2.0 * PRODUCT_M * PRODUCT_N * PRODUCT_K * PRODUCT_TIMES * threads / (now() - start));
			backend->close(room);
		}
	}
	free(factors);
	return best;
}
