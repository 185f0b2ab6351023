#include "lib/loss/softmax.h"
#include "lib/base/isa.h"
#include "lib/tensor/gemm.h"

#include <math.h>
#include <omp.h>

enum {
	ROWS = 256,    /* queries of a tile */
	BLOCK = 512,   /* keys of a tile: its logits stay in the second-level cache */
	TASKS = 32,    /* enough for that many threads */
};

/* --- one row of a tile --- */

/* exp(x) for x <= 0, 2 ulp; below -87 some number under 2e-38. Argument reduction and polynomial of Cephes' expf. */
static inline __attribute__((always_inline)) float exp_negative(float x)
{
	const float magic = 12582912; /* adding it rounds to a whole number, kept in the low bits */
	float whole, r, y;
	int32_t bits, power;

	x = x < -87 ? -87 : x;
	whole = x * 1.44269504f + magic;
	memcpy(&power, &whole, sizeof(power));
	whole -= magic;
	r = x - whole * 0.693359375f + whole * 2.12194440e-4f;
	y = 1.9875691500e-4f * r + 1.3981999507e-3f;
	y = y * r + 8.3334519073e-3f;
	y = y * r + 4.1665795894e-2f;
	y = y * r + 1.6666665459e-1f;
	y = y * r + 5.0000001201e-1f;
	y = y * r * r + r + 1;
	memcpy(&bits, &y, sizeof(bits));
	bits += (int32_t)((uint32_t)power << 23);
	memcpy(&y, &bits, sizeof(y));
	return y;
}

/* Largest of x and start; *above: how many of x exceed own. */
static inline __attribute__((always_inline)) float scan_body(const float *x, int n, float start, float own, int *above)
{
	float peak = start;
	int count = 0;

#pragma omp simd reduction(max : peak) reduction(+ : count)
	for (int j = 0; j < n; j++) {
		peak = x[j] > peak ? x[j] : peak;
		count += x[j] > own;
	}
	*above += count;
	return peak;
}

/* x := exp((x - peak) * scale); returns the sum. below: NULL, or grows by the sum of what x was below the peak, weighed so. */
static inline __attribute__((always_inline)) float weigh_body(float *x, int n, float peak, float scale, double *below)
{
	float sum = 0, along = 0;

	if (below) {
#pragma omp simd reduction(+ : along)
		for (int j = 0; j < n; j++)
			along += (x[j] - peak) * exp_negative((x[j] - peak) * scale);
		*below += along;
	}
#pragma omp simd reduction(+ : sum)
	for (int j = 0; j < n; j++) {
		x[j] = exp_negative((x[j] - peak) * scale);
		sum += x[j];
	}
	return sum;
}

/* x := a*exp(x*scale - row) + b_j*exp(x*scale - key_j), no exponent being above 0. */
static inline __attribute__((always_inline)) void share_body(float *x, int n, float scale, float row, const float *key, float a,
							      const float *b)
{
#pragma omp simd
	for (int j = 0; j < n; j++) {
		float logit = x[j] * scale, one = logit - row, other = logit - key[j];

		x[j] = a * exp_negative(one < 0 ? one : 0) + b[j] * exp_negative(other < 0 ? other : 0);
	}
}

#define WIDTH(suffix, target)                                                                         \
	target static float scan_##suffix(const float *x, int n, float start, float own, int *above)  \
	{                                                                                             \
		return scan_body(x, n, start, own, above);                                            \
	}                                                                                             \
	target static float weigh_##suffix(float *x, int n, float peak, float scale, double *below)   \
	{                                                                                             \
		return weigh_body(x, n, peak, scale, below);                                          \
	}                                                                                             \
	target static void share_##suffix(float *x, int n, float scale, float row, const float *key,  \
					  float a, const float *b)                                    \
	{                                                                                             \
		share_body(x, n, scale, row, key, a, b);                                              \
	}
WIDTH(plain, )
WIDTH(avx2, WIDE_AVX2)
WIDTH(avx512, WIDE_AVX512)

static const struct kernel {
	float (*scan)(const float *x, int n, float start, float own, int *above);
	float (*weigh)(float *x, int n, float peak, float scale, double *below);
	void (*share)(float *x, int n, float scale, float row, const float *key, float a, const float *b);
} kernels[] = {
	[ISA_PLAIN] = { scan_plain, weigh_plain, share_plain },
	[ISA_AVX2] = { scan_avx2, weigh_avx2, share_avx2 },
	[ISA_AVX512] = { scan_avx512, weigh_avx512, share_avx512 },
};

/* --- life cycle --- */

struct softmax *softmax_new(int n, int k, int dim, int value_dim)
{
	struct softmax *s = xcalloc(1, sizeof(*s));
	int tiles = (n + ROWS - 1) / ROWS, blocks = (k + BLOCK - 1) / BLOCK;
	size_t parts;

	*s = (struct softmax){ .n = n, .k = k, .dim = dim, .value_dim = value_dim };
	s->segments = MAX(1, MIN(TASKS / tiles, blocks));
	s->threads = omp_get_max_threads();
	parts = (size_t)s->segments * n;
	s->lse = xaligned(n * sizeof(*s->lse));
	s->mean = xaligned((size_t)n * value_dim * sizeof(float));
	s->above = xaligned(n * sizeof(*s->above));
	s->cosine = xaligned(n * sizeof(*s->cosine));
	s->logits = xaligned((size_t)s->threads * ROWS * BLOCK * sizeof(float));
	s->partial = xaligned(parts * value_dim * sizeof(float));
	s->peak = xaligned(parts * sizeof(*s->peak));
	s->sum = xaligned(parts * sizeof(*s->sum));
	s->below = xaligned(parts * sizeof(*s->below));
	s->count = xaligned(parts * sizeof(*s->count));
	return s;
}

void softmax_free(struct softmax *s)
{
	if (!s)
		return;
	free(s->lse);
	free(s->mean);
	free(s->above);
	free(s->logits);
	free(s->partial);
	free(s->peak);
	free(s->sum);
	free(s->below);
	free(s->cosine);
	free(s->count);
	free(s);
}

/* --- the pass --- */

/* A larger maximum was found: what was summed under the old one shrinks. */
static void move_peak(struct softmax *s, size_t part, float peak, double t)
{
	double factor = exp(((double)s->peak[part] - peak) / t);
	float *mean = s->partial + part * s->value_dim, by = (float)factor;

	s->below[part] = factor * (s->below[part] + (s->peak[part] - (double)peak) * s->sum[part]);
	if (s->sum[part] == 0)
		s->below[part] = 0; /* the first peak is minus infinity */
	s->peak[part] = peak;
	s->sum[part] *= factor;
	for (int d = 0; d < s->value_dim; d++)
		mean[d] *= by;
}

static float own_of(const float *own, int i)
{
	return own ? own[i] : -INFINITY;
}

/* Rows from..from+rows against one segment of the bank. */
static void run_tile(struct softmax *s, int segment, int from, int rows, const float *q, const float *own, const float *keys,
		     const float *values, double t)
{
	const struct kernel *kernel = &ISA_ROW(kernels);
	float *x = s->logits + (size_t)omp_get_thread_num() * ROWS * BLOCK; /* (rows, BLOCK) */
	int blocks = (s->k + BLOCK - 1) / BLOCK;
	int first = (int)((int64_t)segment * blocks / s->segments) * BLOCK;
	int last = MIN(s->k, (int)((int64_t)(segment + 1) * blocks / s->segments) * BLOCK);
	size_t part = (size_t)segment * s->n + from;

	memset(s->partial + part * s->value_dim, 0, (size_t)rows * s->value_dim * sizeof(float));
	memset(s->sum + part, 0, rows * sizeof(*s->sum));
	memset(s->below + part, 0, rows * sizeof(*s->below));
	memset(s->count + part, 0, rows * sizeof(*s->count));
	for (int i = 0; i < rows; i++)
		s->peak[part + i] = own_of(own, from + i);
	for (int j = first; j < last; j += BLOCK) {
		int width = MIN(BLOCK, last - j);

		gemm(false, true, rows, width, s->dim, 1, q + (size_t)from * s->dim, s->dim, keys + (size_t)j * s->dim, s->dim, 0,
		     x, BLOCK);
		for (int i = 0; i < rows; i++) {
			float *row = x + (size_t)i * BLOCK, peak;

			if (s->others && from + i >= j && from + i < j + width)
				row[from + i - j] = -INFINITY;
			peak = kernel->scan(row, width, s->peak[part + i], own_of(s->rank ? s->rank : own, from + i),
					    &s->count[part + i]);

			if (peak > s->peak[part + i])
				move_peak(s, part + i, peak, t);
			s->sum[part + i] += kernel->weigh(row, width, peak, (float)(1 / t),
							  s->cosines ? &s->below[part + i] : NULL);
		}
		if (s->value_dim > 0)
			gemm(false, false, rows, s->value_dim, width, 1, x, BLOCK, values + (size_t)j * s->value_dim,
			     s->value_dim, 1, s->partial + part * s->value_dim, s->value_dim);
	}
}

/* Segments of row i put together, in order. */
static void merge_row(struct softmax *s, int i, float own, double t)
{
	float *mean = s->mean + (size_t)i * s->value_dim;
	float peak = own;
	double sum, below = 0;

	for (int g = 0; g < s->segments; g++)
		peak = MAX(peak, s->peak[(size_t)g * s->n + i]);
	sum = exp(((double)own - peak) / t);
	s->above[i] = 0;
	for (int g = 0; g < s->segments; g++) {
		size_t part = (size_t)g * s->n + i;

		sum += s->sum[part] * exp(((double)s->peak[part] - peak) / t);
		below += (s->below[part] + s->sum[part] * ((double)s->peak[part] - peak)) *
			 exp(((double)s->peak[part] - peak) / t);
		s->above[i] += s->count[part];
	}
	s->lse[i] = log(sum) + peak / t;
	s->cosine[i] = peak + below / sum;
	memset(mean, 0, s->value_dim * sizeof(float));
	for (int g = 0; g < s->segments; g++) {
		size_t part = (size_t)g * s->n + i;
		float weight = (float)(exp(((double)s->peak[part] - peak) / t) / sum);

		for (int d = 0; d < s->value_dim; d++)
			mean[d] += weight * s->partial[part * s->value_dim + d];
	}
}

void softmax_run(struct softmax *s, const float *q, const float *own, const float *keys, const float *values, double t)
{
	int tiles = (s->n + ROWS - 1) / ROWS;

#pragma omp parallel for num_threads(s->threads) schedule(dynamic)
	for (int task = 0; task < tiles * s->segments; task++) {
		int from = task % tiles * ROWS;

		run_tile(s, task / tiles, from, MIN(ROWS, s->n - from), q, own, keys, values, t);
	}
#pragma omp parallel for num_threads(s->threads)
	for (int i = 0; i < s->n; i++)
		merge_row(s, i, own_of(own, i), t);
}

/* Rows from..from+rows against all rows. */
static void share_tile(const struct softmax *s, int from, int rows, const float *q, const float *lse, const float *weight,
		       double t, float *d)
{
	float *x = s->logits + (size_t)omp_get_thread_num() * ROWS * BLOCK; /* (rows, BLOCK) */

	for (int j = 0; j < s->n; j += BLOCK) {
		int width = MIN(BLOCK, s->n - j);

		gemm(false, true, rows, width, s->dim, 1, q + (size_t)from * s->dim, s->dim, q + (size_t)j * s->dim, s->dim, 0, x,
		     BLOCK);
		for (int i = 0; i < rows; i++) {
			float *row = x + (size_t)i * BLOCK;

			ISA_ROW(kernels).share(row, width, (float)(1 / t), lse[from + i], lse + j, weight[from + i], weight + j);
			if (from + i >= j && from + i < j + width)
				row[from + i - j] = 0;
		}
		gemm(false, false, rows, s->dim, width, (float)(1 / t), x, BLOCK, q + (size_t)j * s->dim, s->dim, 1,
		     d + (size_t)from * s->dim, s->dim);
	}
}

void softmax_mutual(const struct softmax *s, const float *q, const float *weight, double t, float *d)
{
	float *lse = xaligned(s->n * sizeof(*lse));

	for (int i = 0; i < s->n; i++)
		lse[i] = (float)s->lse[i];
#pragma omp parallel for num_threads(s->threads) schedule(dynamic)
	for (int from = 0; from < s->n; from += ROWS)
		share_tile(s, from, MIN(ROWS, s->n - from), q, lse, weight, t, d);
	free(lse);
}
