/*
 * backend.h - who multiplies matrices: OpenBLAS (every platform, the oracle) or oneDNN (kernels made for this machine's ISA)
 *
 * Row-major, single precision, one thread a call; safe to call from inside an OpenMP loop. To add a backend: write its file
 * and one line in backends[].
 *
 *	const struct backend *b = backend_find(NULL);                 the default; NULL after fail() for an unknown name
 *	b->gemm(false, false, m, n, k, a, lda, w, ldw, 0, c, ldc);    C = op(A) op(B) + beta * C, beta 0 or 1
 */
#ifndef NN_BACKEND_H
#define NN_BACKEND_H

#include "lib/base/options.h"

struct backend {
	struct entry entry;
	void (*gemm)(bool trans_a, bool trans_b, int m, int n, int k, const float *a, int lda, const float *b, int ldb,
		     float beta, float *c, int ldc);
	const char *(*version)(void);
};

extern const struct table backend_table;
const struct backend *backend_find(const char *name);

#ifdef WITH_ONEDNN
void onednn_gemm(bool trans_a, bool trans_b, int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta,
		 float *c, int ldc);
const char *onednn_version(void);
#endif

#endif
