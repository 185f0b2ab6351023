#include "lib/tensor/gemm.h"
#include "lib/base/base.h"
#include "lib/tensor/onednn.h"

#include <cblas.h>
#include <stdio.h>

/* On other processors oneDNN's is written in plain C++. */
#if defined(WITH_ONEDNN) && defined(__x86_64__)
#define multiply onednn_gemm
#else
#define multiply gemm_blas
#endif

/* Debian's library may be the pthread flavour: its own threads stay off, the callers' OpenMP loops are the threads. */
__attribute__((constructor)) static void one_thread(void)
{
	openblas_set_num_threads(1);
}

void gemm_blas(bool trans_a, bool trans_b, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb,
	       float beta, float *c, int ldc)
{
	cblas_sgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans, trans_b ? CblasTrans : CblasNoTrans, m, n, k, alpha, a,
		    lda, b, ldb, beta, c, ldc);
}

/* LAPACK's, which OpenBLAS brings along; its header is another package's. */
extern void dsyevd_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda, double *w, double *work,
		    const int *lwork, int *iwork, const int *liwork, int *info);

int gemm_eigen(int n, double *a, double *values)
{
	int work = 1 + 6 * n + 2 * n * n, iwork = 3 + 5 * n, info;
	double *room = xmalloc(work * sizeof(*room));
	int *integers = xmalloc(iwork * sizeof(*integers));

	dsyevd_("V", "U", &n, a, &n, values, room, &work, integers, &iwork, &info);
	free(room);
	free(integers);
	return info;
}

const char *gemm_blas_name(void)
{
	static char name[128];

	snprintf(name, sizeof(name), "OpenBLAS %.60s on %.30s", openblas_get_config(), openblas_get_corename());
	return name;
}

void gemm(bool trans_a, bool trans_b, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb,
	  float beta, float *c, int ldc)
{
	multiply(trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
