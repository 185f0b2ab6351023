#include "lib/nn/conv/conv_gather.h"

/* Copies up to RUN - 1 bytes too many, which the next run overwrites. */
static inline void copy_run(char *to, const char *from, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += RUN)
		memcpy(to + i, from + i, RUN);
}

/* A row of taps of one patch: contiguous in the tile unless the channels are padded. */
static inline void copy_taps(char *to, const char *from, int k, size_t pixel, size_t ld)
{
	if (pixel == ld) {
		copy_run(to, from, k * pixel);
		return;
	}
	for (int i = 0; i < k; i++)
		copy_run(to + i * pixel, from + i * ld, pixel);
}

/* Rows of taps ky .. ky+n-1 of the patches of output row y. */
static char *gather_row(const struct tile *tile, const struct cut *c, int image, int y, int ky, int n, const char *zeros,
			char *patches)
{
	const char *row[KERNEL_MAX];
	size_t size = element_size(c->element), pixel = c->c * size, ld = c->ld * size, pitch = c->pitch * size;

	for (int i = 0; i < n; i++) {
		int at = y * c->stride - c->pad + ky + i;

		row[i] = at < 0 || at >= c->h ? NULL : tile_at(tile, image, at, -c->pad);
	}
	for (int o = 0; o < c->outputs; o++, patches += pitch)
		for (int i = 0; i < n; i++)
			copy_taps(patches + i * c->k * pixel, row[i] ? row[i] + o * c->stride * ld : zeros, c->k, pixel, ld);
	return patches;
}

void conv_gather(const struct tile *tile, const struct cut *cut, const struct chunk *c, int ky, int n, const char *zeros,
		   char *patches)
{
	for (int i = 0; i < c->images; i++)
		for (int y = c->y0; y < c->y1; y++)
			patches = gather_row(tile, cut, i, y, ky, n, zeros, patches);
}

/* Adds the gradient of a patch's row of taps to the input's, as far as it lies inside. */
static void scatter_taps(const struct task *t, float *row, int at, const float *from)
{
	const struct node *x = t->x, *in = t->in;
	int first = MAX(0, -at), last = MIN(x->k, in->w - at);

	if (in->c == in->ld) {
		if (last > first)
			t->plan->kernels[F32]->add(row + (int64_t)(at + first) * in->ld, from + first * in->c,
						  (int64_t)(last - first) * in->c);
		return;
	}
	for (int i = first; i < last; i++)
		t->plan->kernels[F32]->add(row + (int64_t)(at + i) * in->ld, from + i * in->c, in->c);
}

void conv_scatter(const struct task *t, const struct chunk *c, const struct cut *cut, int ky, int n, const float *patches,
		    float *images)
{
	const struct node *x = t->x, *in = t->in;

	for (int i = 0; i < c->images; i++)
		for (int y = c->y0; y < c->y1; y++)
			for (int o = 0; o < x->w; o++, patches += cut->pitch)
				for (int k = 0; k < n; k++) {
					int at = y * x->stride - x->pad + ky + k;

					if (at >= 0 && at < in->h)
						scatter_taps(t, images + ((int64_t)i * in->h + at) * in->w * in->ld,
							     o * x->stride - x->pad, patches + k * x->k * in->c);
				}
}
