#include "lib/image/worker.h"

void worker_init(struct worker *w, bool exif, int least)
{
	*w = (struct worker){ .decoder = decoder_new(), .studio = STUDIO_INIT };
	decoder_set_upright(w->decoder, exif);
	decoder_set_fast(w->decoder, least);
}

void worker_release(struct worker *w)
{
	decoder_free(w->decoder);
	bytes_release(&w->bytes);
	bytes_release(&w->view);
	picture_release(&w->picture);
	studio_release(&w->studio);
}

int worker_open(struct worker *w, const struct dataset *d, int sample, int *width, int *height)
{
	if (dataset_load(d, sample, &w->bytes, &w->blob) < 0)
		return -1;
	return decoder_open(w->decoder, &w->blob, width, height);
}

int worker_read(struct worker *w, const struct dataset *d, int sample)
{
	int width, height;

	if (worker_open(w, d, sample, &width, &height) < 0)
		return -1;
	return decoder_read(w->decoder, (struct box){ 0, 0, width, height }, &w->picture);
}

uint8_t *worker_room(struct worker *w, size_t size)
{
	if (w->view.room < size) {
		w->view.data = xrealloc(w->view.data, size, 1);
		w->view.room = size;
	}
	return w->view.data;
}

void worker_resize(struct worker *w, int width, int height, enum filter filter, uint8_t *rgb)
{
	const struct picture *p = &w->picture;

	resample(&w->studio.resampler, p->rgb, (size_t)p->w * 3, p->w, p->h, filter, width, height,
		 (struct box){ 0, 0, width, height }, &w->studio.view);
	planes_interleave(&w->studio.view, false, rgb);
}
