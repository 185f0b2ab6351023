/*
 * onednn.c - the only file that knows oneDNN: matrix products as primitives, made once for each shape
 *
 * Making a primitive takes up to a millisecond (it may compile a kernel), running one a microsecond besides the product, so each
 * thread keeps those it has met in a hash table. Inside our parallel regions a thread has no threads of its own to give: a
 * primitive must be made for one, or it does only the first thread's share (omp_set_num_threads() is local to the calling task).
 */
#ifdef WITH_ONEDNN
#include "lib/nn/backend.h"

#include <dnnl.h>
#include <omp.h>

/* What a primitive is made for: a product without its addresses. */
struct shape {
	int m, n, k, lda, ldb, ldc;
	int element, result, trans_a, trans_b, add;
};

struct made {
	struct shape shape;
	dnnl_primitive_t primitive;      /* NULL: a free place */
	dnnl_memory_t a, b, c, scratch;
};

struct room {
	dnnl_engine_t engine;
	dnnl_stream_t stream;
	struct made *made;
	int count, size;                 /* size: a power of two, at most half used */
	void *scratch;
	size_t scratch_size;
};

static void check(dnnl_status_t s, const char *what, const struct shape *shape)
{
	if (s != dnnl_success)
		bug("%s failed with status %d for a product of %d x %d x %d", what, (int)s, shape->m, shape->n, shape->k);
}

void *onednn_open(void)
{
	struct room *r = xcalloc(1, sizeof(*r));

	r->size = 256;
	r->made = xcalloc(r->size, sizeof(*r->made));
	if (dnnl_engine_create(&r->engine, dnnl_cpu, 0) != dnnl_success ||
	    dnnl_stream_create(&r->stream, r->engine, dnnl_stream_default_flags) != dnnl_success)
		bug("oneDNN does not start");
	return r;
}

void onednn_close(void *room)
{
	struct room *r = room;

	if (!r)
		return;
	for (int i = 0; i < r->size; i++) {
		struct made *p = &r->made[i];

		if (!p->primitive)
			continue;
		dnnl_primitive_destroy(p->primitive);
		dnnl_memory_destroy(p->a);
		dnnl_memory_destroy(p->b);
		dnnl_memory_destroy(p->c);
		dnnl_memory_destroy(p->scratch);
	}
	dnnl_stream_destroy(r->stream);
	dnnl_engine_destroy(r->engine);
	free(r->made);
	free(r->scratch);
	free(r);
}

/* --- making --- */

static dnnl_data_type_t type_of(int element)
{
	return element == BF16 ? dnnl_bf16 : dnnl_f32;
}

static dnnl_memory_desc_t matrix(int rows, int columns, int ld, bool transposed, dnnl_data_type_t type)
{
	dnnl_memory_desc_t d;
	dnnl_dims_t dims = { rows, columns }, strides = { transposed ? 1 : ld, transposed ? ld : 1 };

	if (dnnl_memory_desc_init_by_strides(&d, 2, dims, type, strides) != dnnl_success)
		bug("oneDNN does not take a matrix of %d x %d", rows, columns);
	return d;
}

static dnnl_primitive_attr_t attributes(const struct shape *s)
{
	dnnl_primitive_attr_t attr;
	dnnl_post_ops_t ops;

	check(dnnl_primitive_attr_create(&attr), "dnnl_primitive_attr_create", s);
	check(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user), "dnnl_primitive_attr_set_scratchpad_mode", s);
	if (s->add) {
		check(dnnl_post_ops_create(&ops), "dnnl_post_ops_create", s);
		check(dnnl_post_ops_append_sum(ops, 1), "dnnl_post_ops_append_sum", s);
		check(dnnl_primitive_attr_set_post_ops(attr, ops), "dnnl_primitive_attr_set_post_ops", s);
		dnnl_post_ops_destroy(ops);
	}
	return attr;
}

static void make(struct room *r, struct made *p, const struct shape *s)
{
	dnnl_data_type_t type = type_of(s->element);
	dnnl_memory_desc_t a = matrix(s->m, s->k, s->lda, s->trans_a, type), b = matrix(s->k, s->n, s->ldb, s->trans_b, type);
	dnnl_memory_desc_t c = matrix(s->m, s->n, s->ldc, false, type_of(s->result));
	const dnnl_memory_desc_t *scratch;
	dnnl_matmul_desc_t d;
	dnnl_primitive_desc_t pd;
	dnnl_primitive_attr_t attr = attributes(s);
	int threads = omp_get_max_threads();

	omp_set_num_threads(1);
	check(dnnl_matmul_desc_init(&d, &a, &b, NULL, &c), "dnnl_matmul_desc_init", s);
	check(dnnl_primitive_desc_create(&pd, &d, attr, r->engine, NULL), "dnnl_primitive_desc_create", s);
	check(dnnl_primitive_create(&p->primitive, pd), "dnnl_primitive_create", s);
	omp_set_num_threads(threads);
	scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
	check(dnnl_memory_create(&p->a, &a, r->engine, DNNL_MEMORY_NONE), "dnnl_memory_create", s);
	check(dnnl_memory_create(&p->b, &b, r->engine, DNNL_MEMORY_NONE), "dnnl_memory_create", s);
	check(dnnl_memory_create(&p->c, &c, r->engine, DNNL_MEMORY_NONE), "dnnl_memory_create", s);
	check(dnnl_memory_create(&p->scratch, scratch, r->engine, DNNL_MEMORY_NONE), "dnnl_memory_create", s);
	if (dnnl_memory_desc_get_size(scratch) > r->scratch_size) {
		r->scratch_size = dnnl_memory_desc_get_size(scratch);
		free(r->scratch);
		r->scratch = xaligned(r->scratch_size);
	}
	p->shape = *s;
	dnnl_primitive_desc_destroy(pd);
	dnnl_primitive_attr_destroy(attr);
}

/* --- finding --- */

/* Its place, or the free one where it would be. */
static struct made *find(const struct room *r, const struct shape *s)
{
	const int *v = (const int *)s;
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < sizeof(*s) / sizeof(int); i++)
		h = (h ^ (uint32_t)v[i]) * 16777619u;
	h ^= h >> 15;
	for (;; h++) {
		struct made *p = &r->made[h & (r->size - 1)];

		if (!p->primitive || !memcmp(&p->shape, s, sizeof(*s)))
			return p;
	}
}

static void grow(struct room *r)
{
	struct made *old = r->made;

	r->size *= 2;
	r->made = xcalloc(r->size, sizeof(*r->made));
	for (int i = 0; i < r->size / 2; i++)
		if (old[i].primitive)
			*find(r, &old[i].shape) = old[i];
	free(old);
}

void onednn_multiply(void *room, const struct product *p)
{
	struct room *r = room;
	struct shape s = { p->m, p->n, p->k, p->lda, p->ldb, p->ldc, p->element, p->result, p->trans_a, p->trans_b, p->add };
	struct made *made = find(r, &s);

	if (!made->primitive) {
		if (++r->count * 2 > r->size) {
			grow(r);
			made = find(r, &s);
		}
		make(r, made, &s);
	}
	dnnl_memory_set_data_handle(made->a, (void *)p->a);
	dnnl_memory_set_data_handle(made->b, (void *)p->b);
	dnnl_memory_set_data_handle(made->c, p->c);
	dnnl_memory_set_data_handle(made->scratch, r->scratch);
	check(dnnl_primitive_execute(made->primitive, r->stream, 4,
				     (dnnl_exec_arg_t[]){ { DNNL_ARG_SRC, made->a },
							  { DNNL_ARG_WEIGHTS, made->b },
							  { DNNL_ARG_DST, made->c },
							  { DNNL_ARG_SCRATCHPAD, made->scratch } }),
	      "dnnl_primitive_execute", &s);
}

/* --- what there is --- */

bool onednn_narrow(void)
{
	return (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
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
