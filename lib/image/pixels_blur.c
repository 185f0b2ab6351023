/* pixels_blur.c - the extended box filter of blur.h: the same whether the rows are neighbours or one row shifted */
#include "lib/image/pixels_isa.h"

INLINE void box(const uint8_t *const *in, int radius, uint32_t inner, uint32_t outer, int w, uint8_t *out)
{
	typedef uint32_t words __attribute__((vector_size(LANES * 4)));
	int last = 2 * radius + 2;

	for (int x = 0; x < w; x += LANES) {
		ints sum = lanes_load(in[1] + x), edges = lanes_load(in[0] + x) + lanes_load(in[last] + x);

		for (int k = 2; k < last; k++)
			sum += lanes_load(in[k] + x);
		lanes_store(out + x, (ints)(((words)sum * inner + (words)edges * outer + (1u << 23)) >> 24));
	}
}

/* Every sigma up to 2 has radius 0 or 1. */
void ISA(pixels_box)(const uint8_t *const *in, int radius, uint32_t inner, uint32_t outer, int w, uint8_t *out)
{
	if (radius == 0)
		box(in, 0, inner, outer, w, out);
	else if (radius == 1)
		box(in, 1, inner, outer, w, out);
	else
		box(in, radius, inner, outer, w, out);
}
