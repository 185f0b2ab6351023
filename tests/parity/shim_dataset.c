/* shim_dataset.c - data sets and batches through plain arguments, for tests in Python */
#include <omp.h>

#include "lib/base/canvas.h"
#include "lib/image/decoder.h"
#include "lib/image/maker.h"

struct dataset *set_open(const char *paths, const char *holdout);
struct dataset *set_choose(const char *paths, bool from_list, const char *labels, const char *holdout);
const char *set_class(const struct dataset *d, int i);
const char *set_text(const struct dataset *d, int which);
int set_passed(const struct dataset *d);
int set_sample(const struct dataset *d, int i, int out[3]);
int set_pixels(const struct dataset *d, int i, int wh[2], uint8_t *rgb);
struct maker *batches_new(struct dataset *d, const char *recipe, const char *crops, const char *mix, const char *bags,
			  const int64_t o[8], const char *split, double max_bad, int threads);
const char *batches_text(const struct maker *m, const char *name);
int64_t batches_fact(const struct maker *m, const char *name);
int64_t batches_make(struct maker *m, int64_t step, int part, int parts, const char *name, void *out, size_t room);
void positions(int64_t seed, int epoch, int n, uint32_t *out);
void text_line(uint8_t *rgb, int w, int h, const char *text);

/* paths: one a line; labels, holdout: "" without. */
struct dataset *set_choose(const char *paths, bool from_list, const char *labels, const char *holdout)
{
	char *copy = xstrdup(paths), *rest = copy, *list[64];
	struct dataset *d;
	int n = 0;

	while (n < 64 && (list[n] = strsep(&rest, "\n")) != NULL)
		n++;
	d = dataset_open(list, n, from_list);
	free(copy);
	if (d && ((*labels && dataset_label(d, labels) < 0) || (*holdout && dataset_holdout(d, holdout) < 0))) {
		dataset_free(d);
		return NULL;
	}
	return d;
}

struct dataset *set_open(const char *paths, const char *holdout)
{
	return set_choose(paths, false, "", holdout);
}

const char *set_class(const struct dataset *d, int i)
{
	return i >= 0 && i < d->class_count ? d->classes[i] : NULL;
}

const char *set_text(const struct dataset *d, int which)
{
	return which == 2 ? d->labels : which == 1 ? d->holdout : d->fingerprint;
}

/* Files that were passed over, of all kinds. */
int set_passed(const struct dataset *d)
{
	int n = 0;

	for (int k = 0; k < FILE_KINDS; k++)
		n += d->passed[k];
	return n;
}

/* Label, split and size; -1 behind the last sample. */
int set_sample(const struct dataset *d, int i, int out[3])
{
	if (i >= d->count)
		return -1;
	out[0] = d->samples[i].label;
	out[1] = d->samples[i].split;
	out[2] = (int)d->samples[i].size;
	return 0;
}

int set_pixels(const struct dataset *d, int i, int wh[2], uint8_t *rgb)
{
	struct decoder *decoder = decoder_new();
	struct bytes scratch = BYTES_INIT;
	struct picture p = PICTURE_INIT;
	struct blob b;
	int r = dataset_load(d, i, &scratch, &b);

	if (r == 0)
		r = decoder_open(decoder, &b, &wh[0], &wh[1]);
	if (r == 0)
		r = decoder_read(decoder, (struct box){ 0, 0, wh[0], wh[1] }, &p);
	if (r == 0)
		memcpy(rgb, p.rgb, (size_t)wh[0] * wh[1] * 3);
	decoder_free(decoder);
	bytes_release(&scratch);
	picture_release(&p);
	return r;
}

/* o: size, views, batch, seed, eval, cache, exif, fast. */
struct maker *batches_new(struct dataset *d, const char *recipe, const char *crops, const char *mix, const char *bags,
			  const int64_t o[8], const char *split, double max_bad, int threads)
{
	struct maker_options options = MAKER_OPTIONS_INIT;

	omp_set_num_threads(threads);
	if (choice_parse(&options.recipe, &recipe_table, recipe) < 0)
		return NULL;
	options.crops = crops;
	options.mix = mix;
	options.bags = bags;
	options.size = o[0];
	options.views = o[1];
	options.batch = o[2];
	options.seed = o[3];
	options.eval = o[4] != 0;
	options.cache = o[5];
	options.exif = o[6] != 0;
	options.fast = o[7] != 0;
	options.split = split;
	options.max_bad = max_bad;
	return maker_new(&options, d);
}

int64_t batches_fact(const struct maker *m, const char *name)
{
	const struct facts *f = maker_facts(m);

	return strcmp(name, "samples") == 0 ? f->samples : strcmp(name, "steps") == 0 ? f->steps :
	       strcmp(name, "steps_per_epoch") == 0 ? f->steps_per_epoch : strcmp(name, "views") == 0 ? f->views : maker_bad(m);
}

const char *batches_text(const struct maker *m, const char *name)
{
	const struct facts *f = maker_facts(m);

	return strcmp(name, "crops") == 0 ? f->crops : strcmp(name, "mix") == 0 ? f->mix :
	       strcmp(name, "bags") == 0 ? f->bags : f->recipe;
}

/* Copies one tensor of a batch; returns its rows, or -1. */
int64_t batches_make(struct maker *m, int64_t step, int part, int parts, const char *name, void *out, size_t room)
{
	struct tensor t;
	int64_t rows;

	if (maker_make(m, step, part, parts, &name, 1, &t) < 0)
		return -1;
	rows = t.shape[0];
	memcpy(out, t.data, MIN(room, tensor_bytes(&t)));
	tensor_release(&t);
	return rows;
}

void positions(int64_t seed, int epoch, int n, uint32_t *out)
{
	struct facts f = { .seed = seed, .samples = n };

	for (int i = 0; i < n; i++)
		out[i] = facts_pick(&f, epoch, i, 0);
}

void text_line(uint8_t *rgb, int w, int h, const char *text)
{
	canvas_text(&(struct canvas){ w, h, rgb }, 0, 0, 1, text);
}
