/*
 * gemm.h - single precision matrix products, row-major, one thread a call
 *
 * The only door to BLAS. C = alpha * op(A) op(B) + beta * C, with op(A) (m, k), op(B) (k, n), C (m, n) and leading
 * dimensions in elements. Call it from inside an OpenMP loop to use several threads: calls are independent.
 */
#ifndef TENSOR_GEMM_H
#define TENSOR_GEMM_H

#include <stdbool.h>

void gemm(bool trans_a, bool trans_b, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb,
          float beta, float *c, int ldc);
/* What computes it, for -V and the checkpoint: "OpenBLAS 0.3.21 Haswell". */
const char *gemm_name(void);

#endif
