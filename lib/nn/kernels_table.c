#include "lib/nn/kernels_isa.h"

extern const struct kernels ISA(kernels);

const struct kernels ISA(kernels) = {
	.name = ISA_TEXT(KERNELS_ISA),
	.read = ISA(read),
	.read_view = ISA(read_view),
	.moments = ISA(moments),
	.grad = ISA(grad),
	.grad_pooled = ISA(grad_pooled),
	.finish = ISA(finish),
	.pool = ISA(pool),
	.max = ISA(max),
	.max_back = ISA(max_back),
	.depthwise = ISA(depthwise),
	.depthwise_weight = ISA(depthwise_weight),
	.layernorm = ISA(layernorm),
	.layernorm_back = ISA(layernorm_back),
	.softmax = ISA(softmax),
	.softmax_back = ISA(softmax_back),
	.add = ISA(add),
	.squares = ISA(squares),
	.sgd = ISA(sgd),
	.adamw = ISA(adamw),
	.ema = ISA(ema),
};
