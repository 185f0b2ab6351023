#include "lib/tensor/backend.h"
#include "lib/tensor/gemm.h"
#include "lib/tensor/onednn.h"

static void *blas_open(void)
{
	return NULL;
}

static void blas_close(void *room)
{
	(void)room;
}

static void blas_multiply(void *room, const struct product *p)
{
	(void)room;
	if (p->element != F32)
		bug("a product of bf16 by OpenBLAS");
	gemm_blas(p->trans_a, p->trans_b, p->m, p->n, p->k, 1, p->a, p->lda, p->b, p->ldb, p->add, p->c, p->ldc);
}

static bool blas_narrow(void)
{
	return false;
}

#ifdef WITH_ONEDNN
static const struct convolver onednn_convolver = { onednn_filters, onednn_order, onednn_convolve };
#endif

/* The first row is the default. */
static const struct backend backends[] = {
#ifdef WITH_ONEDNN
	{ { "onednn", "oneDNN: kernels compiled at run time for this machine", NULL }, onednn_open, onednn_close, onednn_multiply,
	  onednn_narrow, onednn_version, &onednn_convolver },
#endif
	{ { "blas", "OpenBLAS: on every platform", NULL }, blas_open, blas_close, blas_multiply, blas_narrow, gemm_blas_name, NULL },
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
