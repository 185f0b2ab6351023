/* op_view.c - the input: u8 pixels, normalised while they are read; three numbers a pixel, without padding */
#include "lib/nn/engine/engine.h"

static void view_read(const struct task *t, int node, int n, int images, int y0, int y1, void *dst, enum dtype e, int pitch)
{
	const struct net_config *c = &t->plan->net->config;
	int w = t->plan->width;
	float scale[3], shift[3];

	(void)node;
	for (int i = 0; i < 3; i++) {
		scale[i] = 1 / (255 * c->std[i]);
		shift[i] = -c->mean[i] / c->std[i];
	}
	for (int64_t i = n; i < n + images; i++)
		for (int y = y0; y < y1; y++, dst = element_at(dst, e, 3 * pitch))
			t->plan->kernels[e]->read_view(dst, t->p->views + (i * t->plan->height + y) * w * 3, w, scale, shift);
}

const struct op op_view = { .entry = { "view", "the input", NULL }, .read = view_read };
