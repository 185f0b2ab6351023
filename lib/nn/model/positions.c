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

void positions_resize(const float *from, int h, int w, float *to, int to_h, int to_w, int c)
{
	memcpy(to, from, c * sizeof(float));
	for (int i = 0; i < to_h * to_w; i++) {
		struct taps y = taps_at(i / to_w, h, to_h), x = taps_at(i % to_w, w, to_w);

		for (int k = 0; k < c; k++) {
			double sum = 0;

			for (int tap = 0; tap < TAPS * TAPS; tap++) {
				int ty = tap / TAPS, tx = tap % TAPS;
				int64_t pixel = 1 + (int64_t)y.at[ty] * w + x.at[tx];

				sum += y.weight[ty] * x.weight[tx] * from[pixel * c + k];
			}
			to[(1 + (int64_t)i) * c + k] = (float)sum;
		}
	}
}
