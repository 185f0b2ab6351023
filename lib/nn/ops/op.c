/* op.c - the table of operations, and what they share */
#include "lib/nn/engine/engine.h"

const struct op *const ops[OPS] = {
	[OP_CONV] = &op_conv,
	[OP_STEM] = &op_stem,
	[OP_DEPTHWISE] = &op_depthwise,
	[OP_MAXPOOL] = &op_maxpool,
	[OP_MEANPOOL] = &op_meanpool,
	[OP_SUM] = &op_sum,
	[OP_TOKENS] = &op_tokens,
	[OP_TOKEN] = &op_token,
	[OP_LAYERNORM] = &op_layernorm,
	[OP_ATTENTION] = &op_attention,
	[OP_DROP] = &op_drop,
};

struct cost cost_filters(const struct node *x, enum dtype element)
{
	double pixels = (double)x->h * x->w;

	return (struct cost){ 2 * x->weights * pixels, element, 2 * pixels * x->ld * element_size(x->store) };
}
