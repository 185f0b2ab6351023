/*
 * gemm.h - single precision matrix products, row-major, one thread a call
 *
 * C = alpha * op(A) op(B) + beta * C, with op(A) (m, k), op(B) (k, n), C (m, n) and leading dimensions in elements; with beta 0 C
 * is not read. Call it from inside an OpenMP loop to use several threads: calls are independent.
 */
#ifndef TENSOR_GEMM_H
#define TENSOR_GEMM_H

#include <stdbool.h>

/* The faster library: oneDNN on x86-64 where it was there to build with, OpenBLAS elsewhere. */
void gemm(bool trans_a, bool trans_b, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb,
	  float beta, float *c, int ldc);
/* By OpenBLAS: on every platform. */
void gemm_blas(bool trans_a, bool trans_b, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb,
	       float beta, float *c, int ldc);
/* Eigenvalues of a symmetric matrix a (n, n), rising, and its eigenvectors, which are a's rows then. By LAPACK (dsyevd); not 0:
 * it did not converge. */
int gemm_eigen(int n, double *a, double *values);
/* For -V and the checkpoint: "OpenBLAS 0.3.21 Haswell". */
const char *gemm_blas_name(void);

#endif
