#include "lib/image/kernels_isa.h"

extern const struct pixel_kernels ISA(pixel_kernels);

const struct pixel_kernels ISA(pixel_kernels) = {
	.split = ISA(pixel_split),
	.join = ISA(pixel_join),
	.quads = ISA(pixel_quads),
	.columns = ISA(pixel_columns),
	.rows = ISA(pixel_rows),
	.blend = ISA(pixel_blend),
	.saturate = ISA(pixel_saturate),
	.grey = ISA(pixel_grey),
	.hue = ISA(pixel_hue),
	.luma_sum = ISA(pixel_luma_sum),
	.box = ISA(pixel_box),
};
