/* The only file that knows oneDNN. Its own threads stay off: inside an OpenMP region it runs on the calling thread. */
#ifdef WITH_ONEDNN
#include "lib/nn/backend.h"

#include <dnnl.h>

void onednn_gemm(bool trans_a, bool trans_b, int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta,
		 float *c, int ldc)
{
	dnnl_status_t s = dnnl_sgemm(trans_a ? 'T' : 'N', trans_b ? 'T' : 'N', m, n, k, 1, a, lda, b, ldb, beta, c, ldc);

	if (s != dnnl_success)
		bug("dnnl_sgemm(%d, %d, %d) failed with status %d", m, n, k, (int)s);
}

const char *onednn_version(void)
{
	static char text[64];
	const dnnl_version_t *v = dnnl_version();

	format(text, sizeof(text), "oneDNN %d.%d.%d isa %x", v->major, v->minor, v->patch,
	       (unsigned)dnnl_get_effective_cpu_isa());
	return text;
}
#endif
