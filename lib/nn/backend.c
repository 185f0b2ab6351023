#include "lib/nn/backend.h"
#include "lib/tensor/gemm.h"

static void blas_gemm(bool trans_a, bool trans_b, int m, int n, int k, const float *a, int lda, const float *b, int ldb,
		      float beta, float *c, int ldc)
{
	gemm(trans_a, trans_b, m, n, k, 1, a, lda, b, ldb, beta, c, ldc);
}

/* The first row is the default. */
static const struct backend backends[] = {
#ifdef WITH_ONEDNN
	{ { "onednn", "oneDNN: kernels compiled at run time for this machine", NULL }, onednn_gemm, onednn_version },
#endif
	{ { "blas", "OpenBLAS: on every platform", NULL }, blas_gemm, gemm_name },
};
const struct table backend_table = TABLE("backend", backends);

const struct backend *backend_find(const char *name)
{
	const struct entry *e = name ? table_find(&backend_table, name) : table_row(&backend_table, 0);

	if (!e)
		fail_code(EXIT_USAGE, "unknown backend '%s': this build has%s blas", name,
			  ARRAY_SIZE(backends) > 1 ? " onednn and" : "");
	return (const struct backend *)e;
}
