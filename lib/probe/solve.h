/*
 * solve.h - symmetric positive definite systems: blocked Cholesky factorisation on top of gemm
 *
 *	solve_factor(a, n)             a (n, n): lower triangle becomes L with a = L L^T; -1 when a is not positive definite
 *	solve_with(l, n, b, m)         b (n, m) becomes (L L^T)^-1 b
 */
#ifndef PROBE_SOLVE_H
#define PROBE_SOLVE_H

/* Row-major; the strict upper triangle is neither read nor written. 0, or -1 (nothing kept by fail). */
int solve_factor(float *a, int n);
void solve_with(const float *l, int n, float *b, int m);

#endif
