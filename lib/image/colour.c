#include "lib/image/colour.h"

#include "lib/image/kernels.h"

static inline size_t pixels(const struct planes *p)
{
	return (size_t)p->w * p->h;
}

static void blend_constant(struct planes *p, int d, float f)
{
	pixel_kernels()->blend(p->at[0], 3 * planes_pitch(p), d, f);
}

void colour_brightness(struct planes *p, float f)
{
	blend_constant(p, 0, f);
}

void colour_contrast(struct planes *p, float f)
{
	uint64_t sum = pixel_kernels()->luma_sum(p->at[0], p->at[1], p->at[2], pixels(p));

	blend_constant(p, (int)((double)sum / pixels(p) + 0.5), f);
}

void colour_saturation(struct planes *p, float f)
{
	pixel_kernels()->saturate(p->at[0], p->at[1], p->at[2], pixels(p), f);
}

void colour_hue(struct planes *p, float turn)
{
	pixel_kernels()->hue(p->at[0], p->at[1], p->at[2], pixels(p), (uint8_t)(int)((double)turn * 255));
}

void colour_grey(struct planes *p)
{
	pixel_kernels()->grey(p->at[0], p->at[1], p->at[2], pixels(p));
}

void colour_solarise(struct planes *p)
{
	uint8_t *x = p->at[0];

	for (size_t i = 0; i < 3 * planes_pitch(p); i++)
		x[i] = x[i] < 128 ? x[i] : 255 - x[i];
}
