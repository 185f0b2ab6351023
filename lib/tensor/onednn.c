/*
 * onednn.c - matrix products and convolutions as primitives of oneDNN, made once for each shape
 *
 * Making a primitive takes up to a millisecond (it may compile a kernel), running one a microsecond besides the work, so each
 * thread keeps those it has met in a hash table. Inside our parallel regions a thread has no threads of its own to give: a
 * primitive must be made for one, or it does only the first thread's share (omp_set_num_threads() is local to the calling task).
 *
 * A convolution wants its weights in blocks of its own choice; from and to (kh, kw, in, out) they go by a primitive, too.
 */
#ifdef WITH_ONEDNN
#include "lib/tensor/onednn.h"
#include "lib/tensor/onednn_describe.h"

#include <omp.h>

enum kind { PRODUCT, CONVOLUTION, ORDER };

/* What a primitive is made for: a product or a convolution without its addresses. Integers only: compared and hashed as such. */
struct shape {
	int kind;
	struct sizes {
		int m, n, k, lda, ldb, ldc;
		int element, result, trans_a, trans_b, add;
	} product;
	struct conv conv;
};

#define ARRAYS_MAX 4

struct made {
	struct shape shape;
	dnnl_primitive_t primitive;      /* NULL: a free place */
	dnnl_exec_arg_t args[ARRAYS_MAX];
	int arrays;                      /* the last one is the room's scratch */
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
	const struct sizes *p = &shape->product;
	const struct conv *c = &shape->conv;

	if (s == dnnl_success)
		return;
	if (shape->kind == PRODUCT)
		bug("%s failed with status %d for a product of %d x %d x %d", what, (int)s, p->m, p->n, p->k);
	bug("%s failed with status %d for way %d of a %dx%d convolution of %d images of %dx%d from %d to %d channels", what,
	    (int)s, c->way, c->k, c->k, c->images, c->in_w, c->in_h, c->in_c, c->out_c);
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
		for (int k = 0; k < p->arrays; k++)
			dnnl_memory_destroy(p->args[k].memory);
	}
	dnnl_stream_destroy(r->stream);
	dnnl_engine_destroy(r->engine);
	free(r->made);
	free(r->scratch);
	free(r);
}

/* --- making --- */

static dnnl_primitive_attr_t attributes(const struct shape *s, bool add)
{
	dnnl_primitive_attr_t attr;
	dnnl_post_ops_t ops;

	check(dnnl_primitive_attr_create(&attr), "dnnl_primitive_attr_create", s);
	check(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user),
	      "dnnl_primitive_attr_set_scratchpad_mode", s);
	if (add) {
		check(dnnl_post_ops_create(&ops), "dnnl_post_ops_create", s);
		check(describe_sum(ops), "dnnl_post_ops_append_sum", s);
		check(dnnl_primitive_attr_set_post_ops(attr, ops), "dnnl_primitive_attr_set_post_ops", s);
		dnnl_post_ops_destroy(ops);
	}
	return attr;
}

static void add_array(struct room *r, struct made *p, int arg, const layout *d)
{
	dnnl_exec_arg_t *a = &p->args[p->arrays++];

	a->arg = arg;
	check(dnnl_memory_create(&a->memory, d, r->engine, DNNL_MEMORY_NONE), "dnnl_memory_create", &p->shape);
}

/* The primitive of a description, which is used up, and room for its scratch; its arrays were added before. */
static void complete(struct room *r, struct made *p, dnnl_primitive_desc_t pd)
{
	const layout *scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);

	check(dnnl_primitive_create(&p->primitive, pd), "dnnl_primitive_create", &p->shape);
	add_array(r, p, DNNL_ARG_SCRATCHPAD, scratch);
	if (dnnl_memory_desc_get_size(scratch) > r->scratch_size) {
		r->scratch_size = dnnl_memory_desc_get_size(scratch);
		free(r->scratch);
		r->scratch = xaligned(r->scratch_size);
	}
	dnnl_primitive_desc_destroy(pd);
}

static dnnl_data_type_t type_of(int element)
{
	return element == BF16 ? dnnl_bf16 : dnnl_f32;
}

static void make_product(struct room *r, struct made *p)
{
	const struct sizes *s = &p->shape.product;
	dnnl_data_type_t type = type_of(s->element);
	struct arrays a = {
		.in = describe_matrix(s->m, s->k, s->lda, s->trans_a, type),
		.weights = describe_matrix(s->k, s->n, s->ldb, s->trans_b, type),
		.out = describe_matrix(s->m, s->n, s->ldc, false, type_of(s->result)),
	};
	dnnl_primitive_desc_t pd;
	dnnl_primitive_attr_t attr = attributes(&p->shape, s->add);

	check(describe_product(&pd, r->engine, &a, attr), "the description", &p->shape);
	add_array(r, p, DNNL_ARG_SRC, a.in);
	add_array(r, p, DNNL_ARG_WEIGHTS, a.weights);
	add_array(r, p, DNNL_ARG_DST, a.out);
	complete(r, p, pd);
	dnnl_primitive_attr_destroy(attr);
	arrays_free(&a);
}

/* --- convolutions --- */

#define ROW_PIXELS 8   /* of the output: kernels that multiply a row at a time are slow when it is shorter */

/* Whether it is a kernel for vectors of 8 or 16; the others are slower than products of patches. */
static bool is_fast(const_dnnl_primitive_desc_t pd, const struct conv *c)
{
	const char *name = "";

	dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name);
	return strstr(name, ":avx") && !(c->out_w < ROW_PIXELS && !strncmp(name, "brg", 3));
}

static struct arrays arrays_of(const struct conv *c)
{
	return (struct arrays){
		.in = describe_tensor(c->images, c->in_c, c->in_h, c->in_w, dnnl_nhwc),
		.weights = describe_tensor(c->out_c, c->in_c, c->k, c->k, dnnl_format_tag_any),
		.out = describe_tensor(c->images, c->out_c, c->out_h, c->out_w, dnnl_nhwc),
	};
}

/* The first fast implementation, NULL where there is none. The backward ways want one of the forward pass as a hint. */
static dnnl_primitive_desc_t conv_pd(const struct room *r, const struct shape *s)
{
	const struct conv *c = &s->conv;
	struct conv ahead = *c;
	struct arrays a = arrays_of(c);
	dnnl_primitive_attr_t attr = attributes(s, false);
	dnnl_primitive_desc_t hint = NULL, pd = NULL;

	ahead.way = CONV_OUTPUT;
	if (c->way != CONV_OUTPUT)
		hint = describe_conv(r->engine, &a, &ahead, NULL, NULL, NULL);
	if (hint || c->way == CONV_OUTPUT)
		pd = describe_conv(r->engine, &a, c, attr, hint, is_fast);
	if (hint)
		dnnl_primitive_desc_destroy(hint);
	dnnl_primitive_attr_destroy(attr);
	arrays_free(&a);
	return pd;
}

/* How it wants its weights. */
static const layout *filters_of(const_dnnl_primitive_desc_t pd, int way)
{
	return dnnl_primitive_desc_query_md(pd, way == CONV_WEIGHT ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 0);
}

static dnnl_primitive_desc_t need_conv_pd(const struct room *r, const struct shape *s)
{
	dnnl_primitive_desc_t pd = conv_pd(r, s);

	check(pd ? dnnl_success : dnnl_unimplemented, "the choice of an implementation", s);
	return pd;
}

static void make_convolution(struct room *r, struct made *p)
{
	const struct conv *c = &p->shape.conv;
	dnnl_primitive_desc_t pd = need_conv_pd(r, &p->shape);
	struct arrays a = arrays_of(c);

	add_array(r, p, c->way == CONV_INPUT ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, a.in);
	add_array(r, p, c->way == CONV_WEIGHT ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, filters_of(pd, c->way));
	add_array(r, p, c->way == CONV_OUTPUT ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, a.out);
	complete(r, p, pd);
	arrays_free(&a);
}

/* Arrays: the weights (kh, kw, in, out), and as the convolution has them. */
static void make_order(struct room *r, struct made *p)
{
	const struct conv *c = &p->shape.conv;
	bool back = c->way == CONV_WEIGHT;
	dnnl_primitive_desc_t conv = need_conv_pd(r, &p->shape), pd;
	const layout *filters = filters_of(conv, c->way);
	layout *plain = describe_tensor(c->out_c, c->in_c, c->k, c->k, dnnl_hwio);
	dnnl_primitive_attr_t attr = attributes(&p->shape, back);

	check(dnnl_reorder_primitive_desc_create(&pd, back ? filters : plain, r->engine, back ? plain : filters, r->engine, attr),
	      "dnnl_reorder_primitive_desc_create", &p->shape);
	add_array(r, p, back ? DNNL_ARG_TO : DNNL_ARG_FROM, plain);
	add_array(r, p, back ? DNNL_ARG_FROM : DNNL_ARG_TO, filters);
	complete(r, p, pd);
	dnnl_primitive_attr_destroy(attr);
	dnnl_primitive_desc_destroy(conv);
	describe_free(plain);
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

static struct made *make(struct room *r, const struct shape *s)
{
	static void (*const makers[])(struct room *, struct made *) = { make_product, make_convolution, make_order };
	int threads = omp_get_max_threads();
	struct made *p;

	if (++r->count * 2 > r->size)
		grow(r);
	p = find(r, s);
	p->shape = *s;
	omp_set_num_threads(1);
#pragma omp critical(onednn_make)   /* in 3.7 threads that make the same kernel at once may get a broken one */
	makers[s->kind](r, p);
	omp_set_num_threads(threads);
	return p;
}

/* With the addresses of all its arrays but the scratch. */
static void run(struct room *r, const struct shape *s, void *const *arrays)
{
	struct made *p = find(r, s);

	if (!p->primitive)
		p = make(r, s);
	for (int i = 0; i < p->arrays; i++)
		dnnl_memory_set_data_handle(p->args[i].memory, i < p->arrays - 1 ? arrays[i] : r->scratch);
	check(dnnl_primitive_execute(p->primitive, r->stream, p->arrays, p->args), "dnnl_primitive_execute", s);
}

void onednn_gemm(bool trans_a, bool trans_b, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb,
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

void onednn_multiply(void *room, const struct product *p)
{
	struct shape s = { .kind = PRODUCT, .product = { p->m, p->n, p->k, p->lda, p->ldb, p->ldc, p->element, p->result,
							 p->trans_a, p->trans_b, p->add } };

	run(room, &s, (void *[]){ (void *)p->a, (void *)p->b, p->c });
}

size_t onednn_filters(void *room, const struct conv *c)
{
	struct shape s = { .kind = CONVOLUTION, .conv = *c };
	int threads = omp_get_max_threads();
	dnnl_primitive_desc_t first;
	size_t size;

	omp_set_num_threads(1);
	first = conv_pd(room, &s);
	size = first ? dnnl_memory_desc_get_size(filters_of(first, c->way)) : 0;
	while (size && (s.conv.images /= 2)) {
		dnnl_primitive_desc_t pd = conv_pd(room, &s);

		if (!pd || !dnnl_memory_desc_equal(filters_of(first, c->way), filters_of(pd, c->way)))
			size = 0;
		if (pd)
			dnnl_primitive_desc_destroy(pd);
	}
	if (first)
		dnnl_primitive_desc_destroy(first);
	omp_set_num_threads(threads);
	return size;
}

void onednn_order(void *room, const struct conv *c, float *weight, float *filters)
{
	struct shape s = { .kind = ORDER, .conv = *c };

	run(room, &s, (void *[]){ weight, filters });
}

void onednn_convolve(void *room, const struct conv *c, float *in, float *filters, float *out)
{
	struct shape s = { .kind = CONVOLUTION, .conv = *c };

	run(room, &s, (void *[]){ in, filters, out });
}

/* --- what there is --- */

bool onednn_has(enum dtype e)
{
	int narrow = dnnl_cpu_isa_avx512_core_bf16;

	return e == F32 || (e == BF16 && (dnnl_get_effective_cpu_isa() & narrow) == narrow);
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
