/*
 * unit.h - rows scaled to unit length, and back through it
 *
 * u = x / max(|x|, 1e-12), as torch.nn.functional.normalize. Gradient: dx = (du - u (u . du)) / |x|.
 */
#ifndef LOSS_UNIT_H
#define LOSS_UNIT_H

#include "lib/base/base.h"

/* x (n, dim) -> u (n, dim); norm (n) receives max(|x|, 1e-12). u may be x. */
void unit_rows(const float *x, int n, int dim, float *u, float *norm);
/* du (n, dim), the gradient for u, becomes the gradient for x. */
void unit_rows_backward(const float *u, const float *norm, int n, int dim, float *du);
/* Sum over the rows of <u(x), v>, v of unit rows: adds weight times its gradient to dx (n, dim). */
double unit_cosines(const float *x, const float *v, int n, int dim, double weight, float *dx);
/* Row by row dot products of a and b (n, dim). */
void unit_dots(const float *a, const float *b, int n, int dim, float *out);
/* Mean over the dim columns of the standard deviation (n - 1) over the rows: 1/sqrt(dim) when unit rows point everywhere
 * alike, 0 when all are equal. */
double unit_std(const float *u, int n, int dim);

#endif
