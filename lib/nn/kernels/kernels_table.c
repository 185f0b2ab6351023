#include "lib/nn/kernels/kernels_isa.h"

extern const struct kernels TYPED(kernels);

const struct kernels TYPED(kernels) = {
	.read = TYPED(read),
	.read_wide = TYPED(read_wide),
	.read_view = TYPED(read_view),
	.put = TYPED(put),
	.grad = TYPED(grad),
	.grad_wide = TYPED(grad_wide),
	.grad_pooled = TYPED(grad_pooled),
	.grad_pooled_wide = TYPED(grad_pooled_wide),
	.finish = TYPED(finish),
	.pool = TYPED(pool),
	.narrow = TYPED(narrow),
	.max = ISA(max),
	.max_back = ISA(max_back),
	.depthwise = ISA(depthwise),
	.depthwise_weight = ISA(depthwise_weight),
	.stem = ISA(stem),
	.stem_weight = ISA(stem_weight),
	.layernorm = TYPED(layernorm),
	.layernorm_back = ISA(layernorm_back),
	.softmax = ISA(softmax),
	.softmax_back = ISA(softmax_back),
	.add = ISA(add),
	.squares = ISA(squares),
	.sgd = ISA(sgd),
	.adamw = ISA(adamw),
	.ema = ISA(ema),
};
