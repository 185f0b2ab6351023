/* backends.c - which backends there are, and choosing one */
#include "lib/tensor/amx.h"
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

static bool blas_has(enum dtype e)
{
	return e == F32;
}

#ifdef WITH_ONEDNN
/* With the left factor transposed, as the gradients of weights have it, the library's plain routine is the faster one. */
static void onednn_or_gemm(void *room, const struct product *p)
{
	if (p->trans_a && p->element != BF16)
		gemm(true, p->trans_b, p->m, p->n, p->k, 1, p->a, p->lda, p->b, p->ldb, p->add, p->c, p->ldc);
	else
		onednn_multiply(room, p);
}

static const struct convolver onednn_convolver = { onednn_filters, onednn_order, onednn_convolve };
#endif

#ifdef ISA_X86
static const struct amx amx = { amx_pack, amx_transpose, amx_run, amx_multiply_packed, amx_lend };
#endif

/* Best first. */
static const struct backend backends[] = {
#ifdef ISA_X86
	{ { "amx", "AMX: bf16, beside another for f32", NULL }, amx_has, amx_open, amx_close, amx_multiply, NULL, NULL, &amx },
#endif
#ifdef WITH_ONEDNN
	{ { "onednn", "oneDNN: kernels compiled at run time for this machine", NULL }, onednn_has, onednn_open, onednn_close,
	  onednn_or_gemm, onednn_version, &onednn_convolver, NULL },
#endif
	{ { "blas", "OpenBLAS: on every platform", NULL }, blas_has, blas_open, blas_close,
	  blas_multiply, gemm_blas_name, NULL, NULL },
};

const struct backend *backend_find(const char *name)
{
	char names[64] = "";

	for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
		const struct backend *b = &backends[i];
		size_t n = strlen(names);

		if (!b->has(F32))
			continue;
		if (!name || strcmp(name, b->entry.name) == 0)
			return b;
		snprintf(names + n, sizeof(names) - n, "%s %s", n ? " and" : "", b->entry.name);
	}
	fail_code(EXIT_USAGE, "unknown backend '%s': this build has%s", name, names);
	return NULL;
}

/* A row without f32 serves beside any. */
const struct backend *backend_narrow(const struct backend *b)
{
	for (size_t i = 0; i < ARRAY_SIZE(backends); i++)
		if (backends[i].has(BF16) && (&backends[i] == b || !backends[i].has(F32)))
			return &backends[i];
	return NULL;
}
