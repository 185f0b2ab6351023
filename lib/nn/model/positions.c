#include "lib/nn/model/positions.h"
#include "lib/base/base.h"

#include <math.h>

#define TAPS 4
#define A -0.75

struct taps {
	int at[TAPS];
	double weight[TAPS];
};

/* Keys' cubic convolution at distance x. */
static double cubic(double x)
{
	x = fabs(x);
	if (x <= 1)
		return ((A + 2) * x - (A + 3)) * x * x + 1;
	return x < 2 ? ((A * x - 5 * A) * x + 8 * A) * x - 4 * A : 0;
}

/* What element i of to takes from a line of from. */
static struct taps taps_at(int i, int from, int to)
{
	double x = (i + 0.5) * from / to - 0.5;
	int first = (int)floor(x) - 1;
	struct taps t;

	for (int k = 0; k < TAPS; k++) {
		t.at[k] = MIN(MAX(first + k, 0), from - 1);
		t.weight[k] = cubic(x - (first + k));
	}
	return t;
}

/* The pixels that pixel i of a to_h x to_w picture is made of, as rows behind the class token's, and their weights. */
static void sources(int i, int h, int w, int to_h, int to_w, int64_t at[TAPS * TAPS], double weight[TAPS * TAPS])
{
	struct taps y = taps_at(i / to_w, h, to_h), x = taps_at(i % to_w, w, to_w);

	for (int tap = 0; tap < TAPS * TAPS; tap++) {
		at[tap] = 1 + (int64_t)y.at[tap / TAPS] * w + x.at[tap % TAPS];
		weight[tap] = y.weight[tap / TAPS] * x.weight[tap % TAPS];
	}
}

void positions_resize(const float *from, int h, int w, float *to, int to_h, int to_w, int c)
{
	int64_t at[TAPS * TAPS];
	double weight[TAPS * TAPS];

	memcpy(to, from, c * sizeof(float));
	for (int i = 0; i < to_h * to_w; i++) {
		sources(i, h, w, to_h, to_w, at, weight);
		for (int k = 0; k < c; k++) {
			double sum = 0;

			for (int tap = 0; tap < TAPS * TAPS; tap++)
				sum += weight[tap] * from[at[tap] * c + k];
			to[(1 + (int64_t)i) * c + k] = (float)sum;
		}
	}
}

void positions_resize_back(float *d_from, int h, int w, const float *d_to, int to_h, int to_w, int c)
{
	int64_t at[TAPS * TAPS];
	double weight[TAPS * TAPS];

	for (int k = 0; k < c; k++)
		d_from[k] += d_to[k];
	for (int i = 0; i < to_h * to_w; i++) {
		sources(i, h, w, to_h, to_w, at, weight);
		for (int tap = 0; tap < TAPS * TAPS; tap++)
			for (int k = 0; k < c; k++)
				d_from[at[tap] * c + k] += (float)(weight[tap] * d_to[(1 + (int64_t)i) * c + k]);
	}
}
