/*
 * top.h - the rows of a bank that are nearest to each query, exact: by cosines in f64, which products in f32 only preselect
 *
 * So equal rows of the bank are equally near wherever they lie, and of those the one with the lower index comes first.
 * Streamed: a tile of products a thread.
 */
#ifndef LOSS_TOP_H
#define LOSS_TOP_H

#include "lib/base/base.h"

/* q (n, dim) and bank (k, dim) of unit length; count <= k; index (n, count): nearest first. */
void top_rows(const float *q, int n, const float *bank, int k, int dim, int count, int32_t *index);

#endif
