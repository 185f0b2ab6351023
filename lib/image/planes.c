#include "lib/image/planes.h"

#include "lib/image/pixels.h"

void planes_shape(struct planes *p, int w, int h)
{
	size_t pitch;

	p->w = w;
	p->h = h;
	pitch = planes_pitch(p);
	if (pitch * 3 > p->room) {
		free(p->at[0]);
		p->at[0] = xaligned(pitch * 3);
		p->room = pitch * 3;
	}
	p->at[1] = p->at[0] + pitch;
	p->at[2] = p->at[1] + pitch;
}

void planes_release(struct planes *p)
{
	free(p->at[0]);
	*p = (struct planes)PLANES_INIT;
}

void planes_interleave(const struct planes *p, bool mirror, uint8_t *rgb)
{
	const struct pixels *k = pixels_find();

	for (int y = 0; y < p->h; y++) {
		size_t row = (size_t)y * p->w;

		k->join((const uint8_t *[]){ p->at[0] + row, p->at[1] + row, p->at[2] + row }, p->w, mirror, rgb + row * 3);
	}
}
