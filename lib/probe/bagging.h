/*
 * bagging.h - the k samples nearest to each, exactly: by cosine, itself left out, BINGO's bags (Xu et al. 2022, section 3.2)
 *
 * Products are of (unit) rows less their mean, as in knn.h, so that rows that nearly coincide keep their digits. Of equal cosines
 * or distances the earlier sample is nearer; a row of zeros has the cosine 0 to all. Room: some megabytes a thread. Results do
 * not depend on the number of threads.
 *
 *	int32_t *bag = xcalloc(n * 5, sizeof(*bag));
 *	bagging_run(x, n, 512, 5, BAGGING_COSINE, bag);      bag[5 * i]: the row nearest to row i
 */
#ifndef PROBE_BAGGING_H
#define PROBE_BAGGING_H

#include "lib/base/base.h"

enum bagging_law { BAGGING_COSINE, BAGGING_EUCLID };

/* x (n, dim); 1 <= k < n; bag (n, k), the nearest first. */
void bagging_run(const float *x, int64_t n, int64_t dim, int k, enum bagging_law law, int32_t *bag);
/* Of other rows, query (queries, dim), the nearest rows of x; k <= n; bag (queries, k). */
void bagging_query(const float *x, int64_t n, const float *query, int64_t queries, int64_t dim, int k, enum bagging_law law,
		   int32_t *bag);

#endif
