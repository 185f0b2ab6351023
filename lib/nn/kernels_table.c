#include "lib/nn/kernels_isa.h"

/* isa: its name. by_tiles: whether products in bf16 go by AMX. */
#define LOOPS(isa, by_tiles) { \
	.name = isa, .tiles = by_tiles, \
	.read = TYPED(read), \
	.read_wide = TYPED(read_wide), \
	.read_view = TYPED(read_view), \
	.put = TYPED(put), \
	.grad = TYPED(grad), \
	.grad_wide = TYPED(grad_wide), \
	.grad_pooled = TYPED(grad_pooled), \
	.grad_pooled_wide = TYPED(grad_pooled_wide), \
	.finish = TYPED(finish), \
	.pool = TYPED(pool), \
	.narrow = TYPED(narrow), \
	.max = ISA(max), \
	.max_back = ISA(max_back), \
	.depthwise = ISA(depthwise), \
	.depthwise_weight = ISA(depthwise_weight), \
	.stem = ISA(stem), \
	.stem_weight = ISA(stem_weight), \
	.layernorm = TYPED(layernorm), \
	.layernorm_back = ISA(layernorm_back), \
	.softmax = ISA(softmax), \
	.softmax_back = ISA(softmax_back), \
	.add = ISA(add), \
	.squares = ISA(squares), \
	.sgd = ISA(sgd), \
	.adamw = ISA(adamw), \
	.ema = ISA(ema), \
}

extern const struct kernels TYPED(kernels);

const struct kernels TYPED(kernels) = LOOPS(ISA_TEXT(KERNELS_ISA), false);

/* The loops beside AMX are those of avx512bf16. */
#define IS_avx512bf16 1
#if ISA_JOIN(IS, KERNELS_ISA)
#define WITH_TILES ISA_JOIN(kernels, ISA_JOIN(KERNELS_ELEMENT, amx))
extern const struct kernels WITH_TILES;

const struct kernels WITH_TILES = LOOPS("amx", true);
#endif
