/*
 * bagging.h - the k samples nearest to each sample by cosine, itself left out: BINGO's bags (Xu et al. 2022, section 3.2)
 *
 * Products are of unit rows less their mean, as in knn.h, so that rows that nearly coincide keep their digits. Of equal cosines
 * the earlier sample is nearer; a row of zeros has the cosine 0 to all. Room: some megabytes a thread. Results do not depend on
 * the number of threads.
 *
 *	int32_t *bag = xcalloc(n * 5, sizeof(*bag));
 *	bagging_run(x, n, 512, 5, bag);               bag[5 * i]: the row nearest to row i
 */
#ifndef PROBE_BAGGING_H
#define PROBE_BAGGING_H

#include "lib/base/base.h"

/* x (n, dim); 1 <= k < n; bag (n, k). */
void bagging_run(const float *x, int64_t n, int64_t dim, int k, int32_t *bag);

#endif
