/* op.c - the table of operations */
#include "lib/nn/engine.h"

const struct op *const ops[OPS] = {
	[OP_CONV] = &op_conv,
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
