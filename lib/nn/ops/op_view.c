/* op_view.c - the input: u8 pixels, normalised while they are read; three numbers a pixel, without padding */
#include "lib/nn/engine/engine.h"
#include "lib/nn/onnx/graph.h"

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

/* Normalised by whoever gives it, or here, from pixels of 0 to 1. */
static const char *view_onnx(struct graph *g, const struct node *x)
{
	const struct net_config *c = &g->plan->net->config;
	const char *value = GRAPH_IMAGE;

	(void)x;
	if (!g->pixels)
		return value;
	value = graph_op(g, "Sub", IN(value, graph_tensor(g, "mean", 3, (int64_t[]){ 3, 1, 1 }, c->mean)), NO_ATTRIBUTES);
	return graph_op(g, "Div", IN(value, graph_tensor(g, "std", 3, (int64_t[]){ 3, 1, 1 }, c->std)), NO_ATTRIBUTES);
}

const struct op op_view = { .entry = { "view", "the input", NULL }, .read = view_read, .onnx = view_onnx };
