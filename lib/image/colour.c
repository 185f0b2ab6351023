#include "lib/image/colour.h"

#include "lib/image/pixels.h"

static inline size_t area(const struct planes *p)
{
	return (size_t)p->w * p->h;
}

static void blend_constant(struct planes *p, int d, float f)
{
	pixels_find()->blend(p->at[0], 3 * planes_pitch(p), d, f);
}

void colour_brightness(struct planes *p, float f)
{
	blend_constant(p, 0, f);
}

void colour_contrast(struct planes *p, float f)
{
	uint64_t sum = pixels_find()->luma_sum(p->at[0], p->at[1], p->at[2], area(p));

	blend_constant(p, (int)((double)sum / area(p) + 0.5), f);
}

void colour_saturation(struct planes *p, float f)
{
	pixels_find()->saturate(p->at[0], p->at[1], p->at[2], area(p), f);
}

void colour_hue(struct planes *p, float turn)
{
	pixels_find()->hue(p->at[0], p->at[1], p->at[2], area(p), (uint8_t)(int)((double)turn * 255));
}

void colour_grey(struct planes *p)
{
	pixels_find()->grey(p->at[0], p->at[1], p->at[2], area(p));
}

void colour_solarise(struct planes *p)
{
	uint8_t *x = p->at[0];

	for (size_t i = 0; i < 3 * planes_pitch(p); i++)
		x[i] = x[i] < 128 ? x[i] : 255 - x[i];
}
