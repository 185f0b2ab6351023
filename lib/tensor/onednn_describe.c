#ifdef WITH_ONEDNN
#include "lib/tensor/onednn_describe.h"

#if DNNL_VERSION_MAJOR >= 3

static layout *by_strides(int n, const int64_t *sizes, dnnl_data_type_t type, const int64_t *strides)
{
	layout *l;

	return dnnl_memory_desc_create_with_strides(&l, n, sizes, type, strides) == dnnl_success ? l : NULL;
}

static layout *by_tag(int n, const int64_t *sizes, dnnl_data_type_t type, dnnl_format_tag_t tag)
{
	layout *l;

	return dnnl_memory_desc_create_with_tag(&l, n, sizes, type, tag) == dnnl_success ? l : NULL;
}

void describe_free(layout *l)
{
	dnnl_memory_desc_destroy(l);
}

dnnl_status_t describe_sum(dnnl_post_ops_t ops)
{
	return dnnl_post_ops_append_sum(ops, 1, 0, dnnl_data_type_undef);
}

dnnl_status_t describe_product(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const struct arrays *a,
			       const_dnnl_primitive_attr_t attr)
{
	return dnnl_matmul_primitive_desc_create(pd, engine, a->in, a->weights, NULL, a->out, attr);
}

dnnl_primitive_desc_t describe_conv(dnnl_engine_t engine, const struct arrays *a, const struct conv *c,
				    const_dnnl_primitive_attr_t attr, const_dnnl_primitive_desc_t hint, conv_suits *suits)
{
	const dnnl_alg_kind_t direct = dnnl_convolution_direct;
	dnnl_dims_t stride = { c->stride, c->stride }, pad = { c->pad, c->pad }, apart = { 0, 0 };
	dnnl_primitive_desc_t pd = NULL;
	dnnl_status_t s;

	if (c->way == CONV_OUTPUT)
		s = dnnl_convolution_forward_primitive_desc_create(&pd, engine, dnnl_forward_training, direct, a->in, a->weights,
								   NULL, a->out, stride, apart, pad, pad, attr);
	else if (c->way == CONV_INPUT)
		s = dnnl_convolution_backward_data_primitive_desc_create(&pd, engine, direct, a->in, a->weights, a->out, stride,
									 apart, pad, pad, hint, attr);
	else
		s = dnnl_convolution_backward_weights_primitive_desc_create(&pd, engine, direct, a->in, a->weights, NULL, a->out,
									    stride, apart, pad, pad, hint, attr);
	if (s != dnnl_success)
		return NULL;
	while (suits && !suits(pd, c))
		if (dnnl_primitive_desc_next_impl(pd) != dnnl_success) {
			dnnl_primitive_desc_destroy(pd);
			return NULL;
		}
	return pd;
}

#else

static layout *by_strides(int n, const int64_t *sizes, dnnl_data_type_t type, const int64_t *strides)
{
	layout *l = xcalloc(1, sizeof(*l));

	return dnnl_memory_desc_init_by_strides(l, n, sizes, type, strides) == dnnl_success ? l : NULL;
}

static layout *by_tag(int n, const int64_t *sizes, dnnl_data_type_t type, dnnl_format_tag_t tag)
{
	layout *l = xcalloc(1, sizeof(*l));

	return dnnl_memory_desc_init_by_tag(l, n, sizes, type, tag) == dnnl_success ? l : NULL;
}

void describe_free(layout *l)
{
	free(l);
}

dnnl_status_t describe_sum(dnnl_post_ops_t ops)
{
	return dnnl_post_ops_append_sum(ops, 1);
}

dnnl_status_t describe_product(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const struct arrays *a,
			       const_dnnl_primitive_attr_t attr)
{
	dnnl_matmul_desc_t d;
	dnnl_status_t s = dnnl_matmul_desc_init(&d, a->in, a->weights, NULL, a->out);

	return s == dnnl_success ? dnnl_primitive_desc_create(pd, &d, attr, engine, NULL) : s;
}

static dnnl_status_t init_conv(dnnl_convolution_desc_t *d, const struct arrays *a, const struct conv *c)
{
	const dnnl_alg_kind_t direct = dnnl_convolution_direct;
	dnnl_dims_t stride = { c->stride, c->stride }, pad = { c->pad, c->pad };

	if (c->way == CONV_OUTPUT)
		return dnnl_convolution_forward_desc_init(d, dnnl_forward_training, direct, a->in, a->weights, NULL, a->out,
							  stride, pad, pad);
	if (c->way == CONV_INPUT)
		return dnnl_convolution_backward_data_desc_init(d, direct, a->in, a->weights, a->out, stride, pad, pad);
	return dnnl_convolution_backward_weights_desc_init(d, direct, a->in, a->weights, NULL, a->out, stride, pad, pad);
}

dnnl_primitive_desc_t describe_conv(dnnl_engine_t engine, const struct arrays *a, const struct conv *c,
				    const_dnnl_primitive_attr_t attr, const_dnnl_primitive_desc_t hint, conv_suits *suits)
{
	dnnl_convolution_desc_t d;
	dnnl_primitive_desc_iterator_t at = NULL;
	dnnl_primitive_desc_t pd = NULL;
	dnnl_status_t s = init_conv(&d, a, c);

	if (s == dnnl_success)
		s = dnnl_primitive_desc_iterator_create(&at, &d, attr, engine, hint);
	while (s == dnnl_success && !pd) {
		pd = dnnl_primitive_desc_iterator_fetch(at);
		if (!suits || suits(pd, c))
			break;
		dnnl_primitive_desc_destroy(pd);
		pd = NULL;
		s = dnnl_primitive_desc_iterator_next(at);
	}
	if (at)
		dnnl_primitive_desc_iterator_destroy(at);
	return pd;
}

#endif

layout *describe_matrix(int rows, int columns, int ld, bool transposed, dnnl_data_type_t type)
{
	dnnl_dims_t sizes = { rows, columns }, strides = { transposed ? 1 : ld, transposed ? ld : 1 };
	layout *l = by_strides(2, sizes, type, strides);

	if (!l)
		bug("oneDNN does not take a matrix of %d x %d", rows, columns);
	return l;
}

layout *describe_tensor(int a, int b, int c, int d, dnnl_format_tag_t tag)
{
	layout *l = by_tag(4, (dnnl_dims_t){ a, b, c, d }, dnnl_f32, tag);

	if (!l)
		bug("oneDNN does not take an array of %d x %d x %d x %d", a, b, c, d);
	return l;
}

void arrays_free(struct arrays *a)
{
	describe_free(a->in);
	describe_free(a->weights);
	describe_free(a->out);
}
#endif
