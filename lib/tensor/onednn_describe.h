/*
 * onednn_describe.h - what is to be computed, for oneDNN 2 and 3, which have different functions for it
 *
 * In 3 an array's description is a handle, in 2 a struct; by pointer both serve alike where the library asks for one.
 */
#ifndef TENSOR_ONEDNN_DESCRIBE_H
#define TENSOR_ONEDNN_DESCRIBE_H

#include "lib/tensor/backend.h"

#ifdef WITH_ONEDNN
#include <dnnl.h>

#if DNNL_VERSION_MAJOR >= 3
typedef struct dnnl_memory_desc layout;
#else
typedef dnnl_memory_desc_t layout;
#endif

/* What describe_matrix() and describe_tensor() gave; for a convolution the weights in any order. */
struct arrays {
	layout *in, *weights, *out;
};

layout *describe_matrix(int rows, int columns, int ld, bool transposed, dnnl_data_type_t type);
layout *describe_tensor(int a, int b, int c, int d, dnnl_format_tag_t tag);
void describe_free(layout *l);
void arrays_free(struct arrays *a);

/* That the result is added to what the array holds. */
dnnl_status_t describe_sum(dnnl_post_ops_t ops);
dnnl_status_t describe_product(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const struct arrays *a,
			       const_dnnl_primitive_attr_t attr);

typedef bool conv_suits(const_dnnl_primitive_desc_t pd, const struct conv *c);
/* The first that suits (NULL: any does) of the implementations in the library's order, the best first; NULL: there is none. */
dnnl_primitive_desc_t describe_conv(dnnl_engine_t engine, const struct arrays *a, const struct conv *c,
				    const_dnnl_primitive_attr_t attr, const_dnnl_primitive_desc_t hint, conv_suits *suits);
#endif

#endif
