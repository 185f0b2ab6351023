#include "lib/image/view.h"

#include "lib/image/colour.h"
#include "lib/image/cover.h"

static void (*const jitters[4])(struct planes *, float) = { colour_brightness, colour_contrast, colour_saturation, colour_hue };

void view_apply(struct studio *s, const struct picture *p, const struct draw *d, uint8_t *out)
{
	resample(&s->resampler, picture_at(p, d->crop.x, d->crop.y), (size_t)p->w * 3, d->crop.w, d->crop.h,
		 d->bicubic ? FILTER_BICUBIC : FILTER_BILINEAR, d->out_w, d->out_h, d->part, &s->view);
	profile_mark(&s->profile, PHASE_RESAMPLE);
	for (int i = 0; d->jitter && i < 4; i++)
		jitters[d->order[i]](&s->view, d->factor[d->order[i]]);
	if (d->grey)
		colour_grey(&s->view);
	profile_mark(&s->profile, PHASE_COLOUR);
	blur(&s->blur, &s->view, d->sigma);
	profile_mark(&s->profile, PHASE_BLUR);
	if (d->solarise)
		colour_solarise(&s->view);
	profile_mark(&s->profile, PHASE_COLOUR);
	planes_interleave(&s->view, d->flip, out);
	cover_apply(d, out);
	profile_mark(&s->profile, PHASE_WEAVE);
}

void studio_release(struct studio *s)
{
	resampler_release(&s->resampler);
	planes_release(&s->view);
	blur_release(&s->blur);
}
