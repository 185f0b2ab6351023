#include "lib/tensor/gemm.h"
#include "lib/base/base.h"

#include <cblas.h>
#if defined(WITH_ONEDNN) && defined(__x86_64__)
#include <dnnl.h>
#include <omp.h>
#define BY_ONEDNN
#endif

/* Debian's library may be the pthread flavour: its own threads stay off, the callers' OpenMP loops are the threads. */
__attribute__((constructor)) static void one_thread(void)
{
	openblas_set_num_threads(1);
}

void gemm_blas(bool trans_a, bool trans_b, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb,
	       float beta, float *c, int ldc)
{
	cblas_sgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans, trans_b ? CblasTrans : CblasNoTrans, m, n, k, alpha, a, lda, b,
		    ldb, beta, c, ldc);
}

const char *gemm_blas_name(void)
{
	static char name[128];

	snprintf(name, sizeof(name), "OpenBLAS %.60s on %.30s", openblas_get_config(), openblas_get_corename());
	return name;
}

#ifdef BY_ONEDNN
/* The number of threads is the calling task's own. */
void gemm(bool trans_a, bool trans_b, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb,
	  float beta, float *c, int ldc)
{
	int threads = omp_get_max_threads();
	dnnl_status_t s;

	omp_set_num_threads(1);
	s = dnnl_sgemm(trans_a ? 'T' : 'N', trans_b ? 'T' : 'N', m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
	omp_set_num_threads(threads);
	if (s != dnnl_success)
		bug("dnnl_sgemm failed with status %d for a product of %d x %d x %d", (int)s, m, n, k);
}
#else
void gemm(bool trans_a, bool trans_b, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb,
	  float beta, float *c, int ldc)
{
	gemm_blas(trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
#endif
