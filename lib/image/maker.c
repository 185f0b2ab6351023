#include "lib/image/maker.h"

#include <math.h>
#include <omp.h>

#include "lib/image/maker_internal.h"

enum { ATTEMPTS = 1000, PROBES = 16, STRIDE_MOST = 64, COLD_STEPS = 256 };

/* --- one row --- */

static struct picture *whole_or_window(struct maker *m, struct worker *w, int sample, struct box window, int width, int height)
{
	if (m->cache)
		window = (struct box){ 0, 0, width, height };
	if (decoder_read(w->decoder, window, &w->picture) < 0)
		return NULL;
	if (m->cache)
		cache_add(m->cache, sample, &w->picture);
	return &w->picture;
}

/* Opens a sample: the whole picture from the cache, or at least its size. */
static int open_sample(struct maker *m, struct worker *w, int sample, struct picture *cached, int *width, int *height)
{
	if (m->cache && cache_find(m->cache, sample, cached)) {
		*width = cached->w;
		*height = cached->h;
		return 0;
	}
	return worker_open(w, m->d, sample, width, height);
}

static void draw_views(const struct maker *m, int sample, uint32_t epoch, int width, int height, struct draw *draws)
{
	for (int v = 0; v < m->facts.views; v++)
		draws[v] = recipe_draw(m->frames[v], &m->laws[v], (int)m->facts.size, m->facts.seed, epoch, sample, v, width, height);
}

/* Draws all views, decodes what they need of the picture once, makes those that are asked for. All are drawn and decoded even
 * when one is asked for, so that whether a sample is readable never depends on who asks. */
static int make_views(struct maker *m, struct worker *w, int sample, uint32_t epoch, uint8_t *const *out)
{
	struct picture cached = PICTURE_INIT, *p = &cached;
	struct draw draws[MAKER_VIEWS];
	struct box window = { 0, 0, 0, 0 };
	int width, height;

	profile_start(&w->studio.profile);
	if (open_sample(m, w, sample, &cached, &width, &height) < 0)
		return -1;
	profile_mark(&w->studio.profile, PHASE_READ);
	draw_views(m, sample, epoch, width, height, draws);
	for (int v = 0; v < m->facts.views; v++)
		window = box_union(window, draws[v].crop);
	if (!cached.rgb)
		p = whole_or_window(m, w, sample, window, width, height);
	profile_mark(&w->studio.profile, PHASE_DECODE);
	for (int v = 0; p && v < m->facts.views; v++)
		if (out[v])
			view_apply(&w->studio, p, &draws[v], out[v]);
	return p ? 0 : -1;
}

/* Counts and names a bad sample the first time it is met. -1 after fail() when there are too many. */
static int note_bad(struct maker *m, int sample)
{
	int n;

	if (atomic_exchange(&m->bad[sample], 1))
		return 0;
	n = atomic_fetch_add(&m->bad_count, 1) + 1;
	if (n > dataset_bad_most(m->max_bad, m->facts.samples))
		return fail("too many unreadable images, %d of %lld (--max-bad %g); the last, '%s': %s", n, (long long)m->facts.samples,
			    m->max_bad, dataset_name(m->d, sample), why());
	note("left out '%s': %s", dataset_name(m->d, sample), why());
	return 0;
}

/* The sample at a position of an epoch, or one that stands in for it. */
static int sample_at(const struct maker *m, uint32_t epoch, uint32_t position, int attempt)
{
	if (m->facts.eval)
		return m->served[position];
	return m->served[sampler_pick(m->facts.seed, epoch, position, attempt, (uint32_t)m->served_count)];
}

/* The sample of one position, views made: its number, -1 when it is left out, -2 after fail(). */
static int make_row(struct maker *m, struct worker *w, uint32_t epoch, uint32_t position, uint8_t *const *out)
{
	for (int attempt = 0; attempt < (m->facts.eval ? 1 : ATTEMPTS); attempt++) {
		int sample = sample_at(m, epoch, position, attempt);

		if (atomic_load(&m->bad[sample]))
			continue;
		if (make_views(m, w, sample, epoch, out) == 0)
			return sample;
		if (note_bad(m, sample) < 0)
			return -2;
	}
	if (m->facts.eval)
		return -1;
	fail("found no readable image in %d tries", ATTEMPTS);
	return -2;
}

/* --- what comes next --- */

/* Whether the disk has had to be waited for lately. */
static bool is_cold(struct maker *m)
{
	for (int i = 0; i < m->worker_count; i++)
		if (m->workers[i].bytes.waited) {
			m->workers[i].bytes.waited = false;
			m->cold_steps = COLD_STEPS;
		}
	return m->cold_steps > 0 && m->cold_steps-- > 0;
}

/* Steps come at even distances, as many apart as there are makers of one line, and parts in a row. While the rows of one are made,
 * the disk can read those that will probably be asked for next. */
static void expect_next(struct maker *m, int64_t step, int part, int parts)
{
	int64_t stride = step - m->last_step, next = part + 1 < parts ? step : step + (stride > 0 && stride <= STRIDE_MOST ? stride : 1);
	struct span span;

	m->last_step = step;
	if (next >= m->facts.steps || !is_cold(m))
		return;
	span = sampler_span(m->facts.samples, (int)m->facts.batch, m->facts.eval, next, (part + 1) % parts, parts);
	for (uint32_t position = span.begin; position < span.end; position++) {
		int sample = sample_at(m, span.epoch, position, 0);
		struct picture p;

		if (!m->cache || !cache_find(m->cache, sample, &p))
			dataset_expect(m->d, sample);
	}
}

/* --- a batch --- */

static struct buffer *pool_take(struct pool *p, size_t size)
{
	for (int i = 0; i < POOL_BUFFERS; i++) {
		struct buffer **b = &p->held[i];

		if (*b && buffer_shared(*b))
			continue;
		if (*b && (*b)->size < size) {
			buffer_unref(*b);
			*b = NULL;
		}
		if (!*b)
			*b = buffer_new(size);
		return buffer_ref(*b);
	}
	return buffer_new(size);
}

/* Finds every name and gives it memory for its rows; bases: that of each view. */
static int prepare_tensors(struct maker *m, int rows, const char *const *names, int count, struct tensor *out,
			   uint8_t *bases[MAKER_VIEWS])
{
	for (int k = 0; k < count; k++) {
		int i = offer_find(m, names[k], &out[k]);

		if (i < 0) {
			while (k-- > 0)
				tensor_release(&out[k]);
			return -1;
		}
		out[k].shape[0] = rows;
		out[k].owner = pool_take(&m->pools[i], MAX(tensor_bytes(&out[k]), 1));
		out[k].data = out[k].owner->data;
		if (i < m->facts.views)
			bases[i] = out[k].data;
	}
	return 0;
}

static size_t row_bytes(const struct tensor *t)
{
	size_t n = dtype_size(t->dtype);

	for (int i = 1; i < t->rank; i++)
		n *= t->shape[i];
	return n;
}

/* Makes all rows in parallel; bases: where each view's rows begin, NULL for those nobody asked for. The first failure stops the
 * others and is kept for the calling thread. */
static int make_rows(struct maker *m, struct span span, uint8_t *const bases[MAKER_VIEWS])
{
	size_t pitch = (size_t)m->facts.size * m->facts.size * 3;
	char sentence[1024] = "";
	atomic_bool failed = false;

#pragma omp parallel for schedule(dynamic, 1) num_threads(m->worker_count)
	for (uint32_t position = span.begin; position < span.end; position++) {
		uint8_t *out[MAKER_VIEWS];
		int row = (int)(position - span.begin);

		if (failed)
			continue;
		for (int v = 0; v < MAKER_VIEWS; v++)
			out[v] = bases[v] ? bases[v] + row * pitch : NULL;
		m->rows[row] = make_row(m, &m->workers[omp_get_thread_num()], span.epoch, position, out);
		if (m->rows[row] == -2 && !atomic_exchange(&failed, true))
			format(sentence, sizeof(sentence), "%s", why());
	}
	return failed ? fail("%s", sentence) : 0;
}

/* Closes the gaps that left-out rows leave; returns how many rows remain. */
static int close_gaps(struct maker *m, int rows, struct tensor *out, int count)
{
	int n = 0;

	for (int row = 0; row < rows; row++) {
		if (m->rows[row] < 0)
			continue;
		for (int k = 0; k < count && n < row; k++) {
			size_t size = row_bytes(&out[k]);

			memcpy((uint8_t *)out[k].data + n * size, (uint8_t *)out[k].data + row * size, size);
		}
		m->rows[n++] = m->rows[row];
	}
	for (int k = 0; k < count; k++)
		out[k].shape[0] = n;
	return n;
}

/* Everything but views comes from the table of samples. */
static void fill_columns(const struct maker *m, int rows, struct tensor *t)
{
	bool label = strcmp(t->name, "label") == 0;

	for (int row = 0; row < rows; row++) {
		const struct sample *s = &m->d->samples[m->rows[row]];

		if (strcmp(t->name, "index") == 0)
			tensor_i64(t)[row] = m->rows[row];
		else if (t->dtype == I32)
			tensor_i32(t)[row] = label ? s->label : s->split;
		else if (strcmp(t->name, "name") == 0)
			strncpy((char *)t->data + row * t->shape[1], dataset_name(m->d, m->rows[row]), t->shape[1]);
	}
}

int maker_make(struct maker *m, int64_t step, int part, int parts, const char *const *names, int count, struct tensor *out)
{
	uint8_t *bases[MAKER_VIEWS] = { NULL };
	struct span span;
	int rows, r;

	if (step < 0 || step >= m->facts.steps || parts < 1 || part < 0 || part >= parts)
		return fail("unable to give part %d of %d of step %lld: the run has %lld steps", part, parts, (long long)step + 1,
			    (long long)m->facts.steps);
	span = sampler_span(m->facts.samples, (int)m->facts.batch, m->facts.eval, step, part, parts);
	rows = (int)(span.end - span.begin);
	if (rows < 1)
		return fail("unable to give part %d of %d of step %lld: it has no rows", part, parts, (long long)step + 1);
	if (prepare_tensors(m, rows, names, count, out, bases) < 0)
		return -1;
	expect_next(m, step, part, parts);
	r = make_rows(m, span, bases);
	if (r == 0 && close_gaps(m, rows, out, count) == 0 && rows > 0)
		r = fail("no image of batch %lld is readable", (long long)step);
	for (int k = 0; k < count; k++) {
		if (r == 0)
			fill_columns(m, (int)out[k].shape[0], &out[k]);
		else
			tensor_release(&out[k]);
	}
	return r;
}

/* --- life --- */

/* Whether the decoded pictures will fit, judged by a few of them. Pixels that a data set holds anyway need no cache. */
static bool worth_caching(struct maker *m, int64_t budget)
{
	struct worker *w = &m->workers[0];
	int64_t pixels = 0, n = 0;

	for (int i = 0; i < MIN(PROBES, m->served_count); i++) {
		int sample = m->served[(int64_t)i * m->served_count / MIN(PROBES, m->served_count)], width, height;

		if (worker_open(w, m->d, sample, &width, &height) < 0)
			continue;
		if (w->blob.kind != BLOB_FILE)
			return false;
		pixels += (int64_t)width * height;
		n++;
	}
	return n > 0 && (double)pixels / n * 3 * m->served_count < 0.95 * budget;
}

static void set_laws(struct maker *m, const struct maker_options *o)
{
	struct choice eval = recipe_eval(&o->recipe);

	for (int v = 0; v < m->facts.views; v++) {
		const struct choice *c = o->eval && v == 0 ? &eval : &o->recipe;

		m->frames[v] = recipe_of(c)->frame;
		m->laws[v] = recipe_law(c, v);
	}
}

/* Pixels that the short side of a picture must have so that no view, by and large, is made of fewer than it holds. */
static int least_side(const struct maker *m)
{
	double least = 0;

	for (int v = 0; v < m->facts.views; v++) {
		const double *law = m->laws[v].v, size = (double)m->facts.size;

		least = MAX(least, m->frames[v] == FRAME_CENTRE ? MAX(law[LAW_SHORT], size * 256 / 224) : size / sqrt(law[LAW_SCALE]));
	}
	return (int)ceil(least);
}

struct maker *maker_new(const struct maker_options *o, struct dataset *d)
{
	struct maker *m = xcalloc(1, sizeof(*m));

	m->d = d;
	m->max_bad = o->max_bad;
	m->last_step = -1;
	if (facts_fill(m, o) < 0) {
		maker_free(m);
		return NULL;
	}
	set_laws(m, o);
	m->bad = xcalloc(d->count, sizeof(*m->bad));
	m->rows = xcalloc(o->batch, sizeof(*m->rows));
	m->worker_count = omp_get_max_threads();
	m->workers = xcalloc(m->worker_count, sizeof(*m->workers));
	for (int i = 0; i < m->worker_count; i++)
		worker_init(&m->workers[i], o->exif, o->fast ? least_side(m) : 0);
	if (o->cache > 0 && worth_caching(m, o->cache))
		m->cache = cache_new(d->count, o->cache);
	return m;
}

void maker_free(struct maker *m)
{
	if (!m)
		return;
	for (int i = 0; i < m->worker_count; i++)
		worker_release(&m->workers[i]);
	for (int i = 0; i < OFFERS; i++)
		for (int k = 0; k < POOL_BUFFERS; k++)
			buffer_unref(m->pools[i].held[k]);
	cache_free(m->cache);
	dataset_free(m->d);
	free(m->workers);
	free(m->served);
	free((void *)m->bad);
	free(m->rows);
	free(m);
}

const struct facts *maker_facts(const struct maker *m)
{
	return &m->facts;
}

const struct dataset *maker_dataset(const struct maker *m)
{
	return m->d;
}

int64_t maker_epoch(const struct maker *m, int64_t step)
{
	return step / m->facts.steps_per_epoch;
}

void maker_profile(struct maker *m, bool on)
{
	for (int i = 0; i < m->worker_count; i++)
		m->workers[i].studio.profile.on = on;
}

void maker_spent(const struct maker *m, struct profile *sum)
{
	for (int i = 0; i < m->worker_count; i++)
		profile_add(sum, &m->workers[i].studio.profile);
}

int maker_bad(const struct maker *m)
{
	return atomic_load(&m->bad_count);
}

int maker_draws(struct maker *m, int sample, uint32_t epoch, struct draw *draws, int wh[2])
{
	if (worker_open(&m->workers[0], m->d, sample, &wh[0], &wh[1]) < 0)
		return -1;
	draw_views(m, sample, epoch, wh[0], wh[1], draws);
	return 0;
}

int maker_original(struct maker *m, int sample, int side, uint8_t *rgb)
{
	struct worker *w = &m->workers[0];
	int longest, out_w, out_h;
	uint8_t *fitted;

	memset(rgb, 255, (size_t)side * side * 3);
	if (worker_read(w, m->d, sample) < 0)
		return -1;
	longest = MAX(w->picture.w, w->picture.h);
	out_w = MAX((int)((int64_t)side * w->picture.w / longest), 1);
	out_h = MAX((int)((int64_t)side * w->picture.h / longest), 1);
	fitted = xmalloc((size_t)out_w * out_h * 3);
	worker_resize(w, out_w, out_h, FILTER_BILINEAR, fitted);
	rgb += ((size_t)(side - out_h) / 2 * side + (side - out_w) / 2) * 3;
	for (int y = 0; y < out_h; y++)
		memcpy(rgb + (size_t)y * side * 3, fitted + (size_t)y * out_w * 3, (size_t)out_w * 3);
	free(fitted);
	return 0;
}
