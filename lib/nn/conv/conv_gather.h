/* conv_gather.h - patches of an array's pixels (im2col), and their sum back onto them; all sizes in pixels */
#ifndef NN_CONV_GATHER_H
#define NN_CONV_GATHER_H

#include "lib/nn/conv/conv.h"

#define RUN 64   /* bytes copied at once: arrays have so many behind them */

/* How one array is cut into patches: that of the inputs, or backward that of the output's gradients. */
struct cut {
	int k, stride, pad;
	int c, ld, h, w;         /* of the array */
	int outputs;             /* patches of a row */
	enum dtype element;
	int group;               /* rows of taps multiplied at once */
	int pitch;               /* of the patches */
};

/* Rows of taps ky .. ky+n-1 of the patches of a chunk's output pixels. zeros: as many as a row of taps has. */
void conv_gather(const struct tile *tile, const struct cut *cut, const struct chunk *c, int ky, int n, const char *zeros,
		 char *patches);
/* Adds the gradients of such rows of patches to those of the input; images: whole ones, of the chunk. */
void conv_scatter(const struct task *t, const struct chunk *c, const struct cut *cut, int ky, int n, const float *patches,
		     float *images);

#endif
