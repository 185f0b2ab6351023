/* The nearest rows of a bank, by a plain sort in f64: exact, with equal rows scattered over blocks, whatever the threads. */
#include "lib/base/rng.h"
#include "lib/base/threads.h"
#include "lib/loss/top.h"
#include "lib/loss/unit.h"
#include "tests/check.h"

enum { N = 37, K = 3001, DIM = 24, COUNT = 11 };

static float q[N * DIM], bank[K * DIM];
static int32_t index_of[N * COUNT], alone[N * COUNT];

static void fill(float *x, int rows, int purpose)
{
	for (int i = 0; i < rows; i++) {
		struct rng r = rng_at(3, 0, (uint32_t)i, 0, (uint16_t)purpose);
		float norm;

		for (int d = 0; d < DIM; d++)
			x[i * DIM + d] = (float)rng_normal(&r);
		unit_rows(x + i * DIM, 1, DIM, x + i * DIM, &norm);
	}
}

static double cosine(int i, int j)
{
	double sum = 0;

	for (int d = 0; d < DIM; d++)
		sum += (double)q[i * DIM + d] * bank[j * DIM + d];
	return sum;
}

/* Whether entry j comes before entry k for row i. */
static bool before(int i, int j, int k)
{
	double a = cosine(i, j), b = cosine(i, k);

	return a > b || (a == b && j < k);
}

/* How many of the bank come before each of the found ones: 0, 1, 2, ... */
static int wrong(void)
{
	int n = 0;

	for (int i = 0; i < N; i++)
		for (int c = 0; c < COUNT; c++) {
			int j = index_of[i * COUNT + c], rank = 0;

			for (int k = 0; k < K; k++)
				rank += k != j && before(i, k, j);
			n += rank != c;
		}
	return n;
}

int main(void)
{
	fill(q, N, 1);
	fill(bank, K, 2);
	threads_set(2);
	top_rows(q, N, bank, K, DIM, COUNT, index_of);
	check("the nearest of a bank, in order", wrong() == 0, "%d are not", wrong());
	for (int j = 0; j < K; j++) /* every row five times or so, far apart */
		memcpy(bank + j * DIM, bank + (j * 7919 % 600) * DIM, DIM * sizeof(float));
	top_rows(q, N, bank, K, DIM, COUNT, index_of);
	check("of equal ones the lower index first", wrong() == 0, "%d are not", wrong());
	threads_set(1);
	top_rows(q, N, bank, K, DIM, COUNT, alone);
	check("the number of threads changes nothing", memcmp(alone, index_of, sizeof(alone)) == 0, "it does");
	top_rows(q, N, bank, COUNT, DIM, COUNT, index_of);
	check("all of a small bank", index_of[0] >= 0 && index_of[0] < COUNT, "%d", index_of[0]);
	return check_done();
}
