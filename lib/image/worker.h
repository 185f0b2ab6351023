/*
 * worker.h - everything a thread needs for itself to turn samples into pixels; its memory is used again and again
 *
 *	struct worker w;
 *	worker_init(&w, false);
 *	if (worker_read(&w, d, 12) == 0)                    the whole picture of sample 12 is in w.picture
 *		worker_resize(&w, 341, 256, FILTER_BICUBIC, rgb);
 *	worker_release(&w);
 */
#ifndef IMAGE_WORKER_H
#define IMAGE_WORKER_H

#include "lib/image/dataset.h"
#include "lib/image/decoder.h"
#include "lib/image/view.h"

struct worker {
	struct decoder *decoder;
	struct bytes bytes;       /* of the sample in hand */
	struct blob blob;         /* the same, as loaded */
	struct picture picture;
	struct studio studio;
	struct bytes view;        /* one that nobody asked for */
};

/* exif: turn pictures as their EXIF says; least: decoder_set_fast(), 0: exactly. */
void worker_init(struct worker *w, bool exif, int least);
void worker_release(struct worker *w);
/* Loads a sample and reads its header. 0, or -1 after fail() with the cause alone. */
int worker_open(struct worker *w, const struct dataset *d, int sample, int *width, int *height);
/* Loads and decodes a whole sample. */
int worker_read(struct worker *w, const struct dataset *d, int sample);
/* Room for so many bytes, which is w->view.data. */
uint8_t *worker_room(struct worker *w, size_t size);
/* Writes the whole picture resized to (h, w, 3). */
void worker_resize(struct worker *w, int width, int height, enum filter filter, uint8_t *rgb);

#endif
