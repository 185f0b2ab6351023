#include "lib/image/planes.h"

void planes_shape(struct planes *p, int w, int h)
{
	size_t plane = (size_t)w * h;

	if (plane * 3 > p->room) {
		free(p->at[0]);
		p->at[0] = xaligned(plane * 3);
		p->room = plane * 3;
	}
	p->at[1] = p->at[0] + plane;
	p->at[2] = p->at[1] + plane;
	p->w = w;
	p->h = h;
}

void planes_release(struct planes *p)
{
	free(p->at[0]);
	*p = (struct planes)PLANES_INIT;
}

void planes_interleave(const struct planes *p, bool mirror, uint8_t *rgb)
{
	int step = mirror ? -3 : 3;

	for (int y = 0; y < p->h; y++) {
		size_t row = (size_t)y * p->w;
		const uint8_t *r = p->at[0] + row, *g = p->at[1] + row, *b = p->at[2] + row;
		uint8_t *out = rgb + row * 3 + (mirror ? (size_t)(p->w - 1) * 3 : 0);

		for (int x = 0; x < p->w; x++, out += step) {
			out[0] = r[x];
			out[1] = g[x];
			out[2] = b[x];
		}
	}
}
