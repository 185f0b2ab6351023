/* alone.c - what augment does when no stage is behind it: --preview, --pack, --describe, --dry-run */
#include "cmd/augment/augment.h"

#include <time.h>

#include "lib/image/decoder.h"
#include "lib/image/preview.h"
#include "lib/image/survey.h"

enum { PREVIEW_SAMPLES = 32 };
static const double dry_seconds = 10;

bool is_alone(const struct options *o)
{
	return o->preview || o->pack.pattern || o->describe || o->dry_run;
}

/* "2 views of 224 pixels each, 6 of 96": views of one size stand together. */
static void say_views(const struct facts *f)
{
	int64_t v = 0;

	for (int64_t from = 0; from < f->views; from = v) {
		while (v < f->views && f->view[v].size == f->view[from].size)
			v++;
		printf(from ? ", %lld of %d" : "%lld views of %d pixels each", (long long)(v - from), f->view[from].size);
	}
}

/* Makes the batches of an epoch, for ten seconds at most. The first one finds its memory and is not counted. */
static int dry_run(struct maker *m)
{
	const struct facts *f = maker_facts(m);
	char text[MAKER_VIEWS][16];
	const char *names[MAKER_VIEWS];
	struct tensor views[MAKER_VIEWS];
	int64_t images = 0;
	double start = now(), seconds = 0;
	clock_t busy = clock();
	int count = (int)f->views;

	for (int v = 0; v < count; v++) {
		snprintf(text[v], sizeof(text[v]), "view%d", v);
		names[v] = text[v];
	}
	for (int64_t step = 0; step == 0 || (step <= f->steps_per_epoch && seconds < dry_seconds); step++) {
		if (maker_make(m, step % f->steps, 0, 1, names, count, views) < 0)
			return -1;
		images += step ? views[0].shape[0] : 0;
		if (step == 0) {
			start = now();
			busy = clock();
		}
		seconds = now() - start;
		for (int v = 0; v < count; v++)
			tensor_release(&views[v]);
	}
	printf("%.1f images/s, %.1f a second of a processor; ", (double)images / MAX(seconds, 1e-9),
	       (double)images / MAX((double)(clock() - busy) / CLOCKS_PER_SEC, 1e-9));
	say_views(f);
	printf("; %lld images in %.2f s\n", (long long)images, seconds);
	return fflush(stdout) == 0 ? 0 : fail("unable to write to stdout:");
}

static int run_maker(const struct options *o, struct dataset *d)
{
	struct maker *m = maker_new(&o->maker, d);
	struct profile spent = { 0 };
	int r;

	if (!m)
		return -1;
	maker_profile(m, o->profile);
	r = o->preview ? preview_write(m, o->preview, PREVIEW_SAMPLES) : dry_run(m);
	if (r == 0)
		maker_say_missed(m);
	if (r == 0 && o->profile) {
		maker_spent(m, &spent);
		profile_note(&spent);
	}
	maker_free(m);
	return r;
}

int run_alone(struct options *o, struct dataset *d)
{
	int r;

	if ((o->preview != NULL) + (o->pack.pattern != NULL) + o->describe + o->dry_run > 1) {
		dataset_free(d);
		return fail_code(EXIT_USAGE, "--preview, --pack, --describe and --dry-run are done one at a time");
	}
	if (o->preview)
		o->maker.batch = 1;
	if (o->dry_run)
		decoder_note_formats();
	if (o->preview || o->dry_run)
		return run_maker(o, d);
	o->pack.exif = o->maker.exif;
	o->pack.max_bad = o->maker.max_bad;
	r = *o->maker.split ? dataset_keep(d, o->maker.split) : 0;
	if (r == 0)
		r = o->describe ? survey_print(d, o->maker.exif, stdout) : pack_write(d, &o->pack);
	dataset_free(d);
	return r;
}
