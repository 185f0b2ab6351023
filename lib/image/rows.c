#include "lib/image/rows.h"

#include <math.h>

enum { ATTEMPTS = 1000, PROBES = 16 };

/* --- life --- */

void rows_init(struct rows *r, const struct facts *f, const struct dataset *d, const int *served, double max_bad)
{
	*r = (struct rows){ .facts = f, .d = d, .served = served, .max_bad = max_bad };
	r->bad = xcalloc(d->count, sizeof(*r->bad));
}

void rows_release(struct rows *r)
{
	cache_free(r->cache);
	free((void *)r->bad);
}

/* Whether the decoded pictures will fit, judged by a few of them. Pixels that a data set holds anyway need no cache. */
static bool worth_caching(const struct rows *r, struct worker *w, int64_t budget)
{
	int64_t pixels = 0, n = 0, served = r->facts->samples;

	for (int i = 0; i < MIN(PROBES, served); i++) {
		int sample = r->served[(int64_t)i * served / MIN(PROBES, served)], width, height;

		if (worker_open(w, r->d, sample, &width, &height) < 0)
			continue;
		if (w->blob.kind != BLOB_FILE)
			return false;
		pixels += (int64_t)width * height;
		n++;
	}
	return n > 0 && (double)pixels / n * 3 * served < 0.95 * budget;
}

void rows_cache(struct rows *r, struct worker *w, int64_t budget)
{
	if (budget > 0 && worth_caching(r, w, budget))
		r->cache = cache_new(r->d->count, budget);
}

int rows_least_side(const struct rows *r)
{
	double least = 0;

	for (int v = 0; v < r->facts->views; v++) {
		const struct law *law = &r->facts->view[v].law;
		double size = r->facts->view[v].size;

		least = MAX(least, law->frame == FRAME_CENTRE ? MAX(law->v[LAW_SHORT], size * 256 / 224) :
				   size / sqrt(law->v[LAW_SCALE]));
	}
	return (int)ceil(least);
}

/* --- a row --- */

void rows_draw(const struct rows *r, int sample, uint32_t epoch, int member, int width, int height, struct draw *draws)
{
	for (int v = 0; v < r->facts->views; v++) {
		if (facts_of_member(r->facts, v) != (member >= 0))
			continue;
		draws[v] = recipe_draw(&r->facts->view[v], r->facts->seed, epoch, sample, v, width, height);
		draws[v].member = member;
	}
}

/* The first at or behind an attempt that is not known to be unreadable; the sample itself is taken in any case. */
static int find_member(const struct rows *r, int sample, uint32_t epoch, int attempt)
{
	int member;

	do
		member = bags_member(&r->facts->members, sample, r->facts->seed, epoch, attempt++);
	while (member != sample && atomic_load(&r->bad[member]));
	return member;
}

int rows_member(const struct rows *r, int sample, uint32_t epoch)
{
	return find_member(r, sample, epoch, 0);
}

static struct picture *whole_or_window(struct rows *r, struct worker *w, int sample, struct box window, int width, int height)
{
	if (r->cache)
		window = (struct box){ 0, 0, width, height };
	if (decoder_read(w->decoder, window, &w->picture) < 0)
		return NULL;
	if (r->cache)
		cache_add(r->cache, sample, &w->picture);
	return &w->picture;
}

/* Opens a sample: the whole picture from the cache, or at least its size. */
static int open_sample(struct rows *r, struct worker *w, int sample, struct picture *cached, int *width, int *height)
{
	if (r->cache && cache_find(r->cache, sample, cached)) {
		*width = cached->w;
		*height = cached->h;
		return 0;
	}
	return worker_open(w, r->d, sample, width, height);
}

/* Pairs are counted as often as any of their views is made. */
static void count_pairs(struct rows *r, bool member, const struct draw *draws)
{
	for (int v = 0; v < r->facts->views; v += 2) {
		if (facts_of_member(r->facts, v) != member)
			continue;
		if (draws[v].pairing == PAIR_BOUNDED)
			atomic_fetch_add(&r->bounded, 1);
		if (draws[v].pairing == PAIR_MISSED)
			atomic_fetch_add(&r->missed, 1);
	}
}

/* Of the two views of a mixed one those that are of the picture in hand: the first goes where the mixed view will be, the second,
 * unless somebody asked for it, where the worker keeps it. */
static void keep_mixed(const struct rows *r, struct worker *w, const struct picture *p, bool member, const struct draw *draws,
		       uint8_t *const *out)
{
	const struct view_spec *spec = &r->facts->view[r->facts->mixed];
	size_t size = (size_t)spec->size * spec->size * 3;
	int first = spec->of[0], second = spec->of[1];

	if (facts_of_member(r->facts, first) == member && out[first])
		memcpy(out[r->facts->mixed], out[first], size);
	else if (facts_of_member(r->facts, first) == member)
		view_apply(&w->studio, p, &draws[first], out[r->facts->mixed]);
	if (facts_of_member(r->facts, second) == member && !out[second])
		view_apply(&w->studio, p, &draws[second], worker_room(w, size));
}

/* Puts the box of the second view into the first one. */
static void finish_mixed(const struct rows *r, struct worker *w, const struct draw *draws, uint8_t *const *out)
{
	int mixed = r->facts->mixed;
	const struct view_spec *spec = &r->facts->view[mixed];
	const uint8_t *second = out[spec->of[1]] ? out[spec->of[1]] : w->view.data;
	struct box cut = draws[mixed].cut;
	size_t row = (size_t)spec->size * 3;

	for (int y = cut.y; y < cut.y + cut.h; y++)
		memcpy(out[mixed] + y * row + (size_t)cut.x * 3, second + y * row + (size_t)cut.x * 3, (size_t)cut.w * 3);
}

float rows_share(const struct rows *r, int sample, uint32_t epoch)
{
	int v = r->facts->mixed;

	return recipe_draw(&r->facts->view[v], r->facts->seed, epoch, sample, v, 0, 0).share;
}

/* Draws all views of one picture, which are a sample's own (member -1) or those of a member of its bag, decodes what they need of
 * it once, makes those that are asked for. All are drawn and decoded even when one is asked for, so that whether a picture is
 * readable never depends on who asks. */
static int make_views(struct rows *r, struct worker *w, int sample, int member, uint32_t epoch, struct draw *draws,
		      uint8_t *const *out)
{
	struct picture cached = PICTURE_INIT, *p = &cached;
	struct box window = { 0, 0, 0, 0 };
	int width, height, mixed = r->facts->mixed, shown = member < 0 ? sample : member;

	profile_start(&w->studio.profile);
	if (open_sample(r, w, shown, &cached, &width, &height) < 0)
		return -1;
	profile_mark(&w->studio.profile, PHASE_READ);
	rows_draw(r, sample, epoch, member, width, height, draws);
	count_pairs(r, member >= 0, draws);
	for (int v = 0; v < r->facts->views; v++)
		if (facts_of_member(r->facts, v) == (member >= 0))
			window = box_union(window, draws[v].crop);
	if (!cached.rgb)
		p = whole_or_window(r, w, shown, window, width, height);
	profile_mark(&w->studio.profile, PHASE_DECODE);
	for (int v = 0; p && v < r->facts->views; v++)
		if (out[v] && v != mixed && facts_of_member(r->facts, v) == (member >= 0))
			view_apply(&w->studio, p, &draws[v], out[v]);
	if (p && mixed >= 0 && out[mixed])
		keep_mixed(r, w, p, member >= 0, draws, out);
	return p ? 0 : -1;
}

/* Counts and names a bad sample the first time it is met. -1 after fail() when there are too many. */
static int note_bad(struct rows *r, int sample)
{
	int n;

	if (atomic_exchange(&r->bad[sample], 1))
		return 0;
	n = atomic_fetch_add(&r->bad_count, 1) + 1;
	if (n > dataset_bad_most(r->max_bad, r->facts->samples))
		return fail("too many unreadable images, %d of %lld (--max-bad %g); the last, '%s': %s", n,
			    (long long)r->facts->samples, r->max_bad, dataset_name(r->d, sample), why());
	note("left out '%s': %s", dataset_name(r->d, sample), why());
	return 0;
}

/* Whether what is asked for takes a picture of a member of a bag. */
static bool needs_member(const struct facts *f, uint8_t *const *out)
{
	for (int v = f->from; v < f->full; v++)
		if (out[v] || (f->mixed >= 0 && out[f->mixed] && (f->view[f->mixed].of[0] == v || f->view[f->mixed].of[1] == v)))
			return true;
	return false;
}

/* Views of a member that can be read, of the sample itself where none can. 0, or -2 after fail(). */
static int make_member(struct rows *r, struct worker *w, int sample, uint32_t epoch, struct draw *draws, uint8_t *const *out)
{
	for (int attempt = 0; needs_member(r->facts, out); attempt++) {
		int member = find_member(r, sample, epoch, attempt);

		if (make_views(r, w, sample, member, epoch, draws, out) == 0)
			return 0;
		if (note_bad(r, member) < 0)
			return -2;
		if (member == sample) {
			fail("unable to read '%s' again, which stands for its bag", dataset_name(r->d, sample));
			return -2;
		}
	}
	return 0;
}

int rows_sample(const struct rows *r, uint32_t epoch, uint32_t position, int attempt)
{
	return r->served[facts_pick(r->facts, epoch, position, attempt)];
}

int rows_make(struct rows *r, struct worker *w, uint32_t epoch, uint32_t position, uint8_t *const *out)
{
	for (int attempt = 0; attempt < (r->facts->eval ? 1 : ATTEMPTS); attempt++) {
		int sample = rows_sample(r, epoch, position, attempt);
		struct draw draws[MAKER_VIEWS];

		if (atomic_load(&r->bad[sample]))
			continue;
		if (make_views(r, w, sample, -1, epoch, draws, out) == 0) {
			if (make_member(r, w, sample, epoch, draws, out) < 0)
				return -2;
			if (r->facts->mixed >= 0 && out[r->facts->mixed])
				finish_mixed(r, w, draws, out);
			return sample;
		}
		if (note_bad(r, sample) < 0)
			return -2;
	}
	if (r->facts->eval)
		return -1;
	fail("found no readable image in %d tries", ATTEMPTS);
	return -2;
}
