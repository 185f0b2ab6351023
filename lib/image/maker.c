#include "lib/image/maker.h"

#include <omp.h>

#include "lib/image/boxes.h"
#include "lib/image/rows.h"

enum { STRIDE_MOST = 64, COLD_STEPS = 256, POOL_BUFFERS = 4, OFFERS = MAKER_VIEWS + 4 };

/* Buffers of one kind of tensor, used again when nobody holds them any more. */
struct pool {
	struct buffer *held[POOL_BUFFERS];
};

struct maker {
	struct facts facts;
	struct dataset *d;
	int *served;                        /* numbers of the samples of the split */
	struct rows rows;
	struct worker *workers;
	int worker_count;
	struct pool pools[OFFERS];
	int64_t last_step;                  /* that was asked for */
	int cold_steps;                     /* for so many more the disk is told what comes next */
	int *samples;                       /* of each row being made; -1: left out */
};

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

static void expect(struct maker *m, int sample)
{
	struct picture p;

	if (!m->rows.cache || !cache_find(m->rows.cache, sample, &p))
		dataset_expect(m->d, sample);
}

/* Steps come at even distances, as many apart as there are makers of one line, and parts in a row. While the rows of one are
 * made, the disk can read those that will probably be asked for next. */
static void expect_next(struct maker *m, int64_t step, int part, int parts)
{
	int64_t stride = step - m->last_step, ahead = stride > 0 && stride <= STRIDE_MOST ? stride : 1;
	int64_t next = part + 1 < parts ? step : step + ahead;
	struct span span;

	m->last_step = step;
	if (next >= m->facts.steps || !is_cold(m))
		return;
	span = facts_span(&m->facts, next, (part + 1) % parts, parts);
	for (uint32_t position = span.begin; position < span.end; position++) {
		int sample = rows_sample(&m->rows, span.epoch, position, 0);

		expect(m, sample);
		if (m->facts.members.k)
			expect(m, bags_member(&m->facts.members, sample, m->facts.seed, span.epoch, 0));
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
		int i = facts_offer_find(&m->facts, names[k], &out[k]);

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
	char sentence[1024] = "";
	atomic_bool failed = false;

#pragma omp parallel for schedule(dynamic, 1) num_threads(m->worker_count)
	for (uint32_t position = span.begin; position < span.end; position++) {
		uint8_t *out[MAKER_VIEWS];
		int row = (int)(position - span.begin);

		if (failed)
			continue;
		for (int v = 0; v < m->facts.views; v++) {
			size_t size = (size_t)m->facts.view[v].size;

			out[v] = bases[v] ? bases[v] + row * size * size * 3 : NULL;
		}
		m->samples[row] = rows_make(&m->rows, &m->workers[omp_get_thread_num()], span.epoch, position, out);
		if (m->samples[row] == -2 && !atomic_exchange(&failed, true))
			format(sentence, sizeof(sentence), "%s", why());
	}
	return failed ? fail("%s", sentence) : 0;
}

/* Closes the gaps that left-out rows leave; returns how many rows remain. */
static int close_gaps(struct maker *m, int rows, struct tensor *out, int count)
{
	int n = 0;

	for (int row = 0; row < rows; row++) {
		if (m->samples[row] < 0)
			continue;
		for (int k = 0; k < count && n < row; k++) {
			size_t size = row_bytes(&out[k]);

			memcpy((uint8_t *)out[k].data + n * size, (uint8_t *)out[k].data + row * size, size);
		}
		m->samples[n++] = m->samples[row];
	}
	for (int k = 0; k < count; k++)
		out[k].shape[0] = n;
	return n;
}

/* Everything but views comes from the table of samples. */
static void fill_columns(const struct maker *m, uint32_t epoch, int rows, struct tensor *t)
{
	bool label = strcmp(t->name, "label") == 0;

	for (int row = 0; row < rows; row++) {
		const struct sample *s = &m->d->samples[m->samples[row]];

		if (strcmp(t->name, "index") == 0)
			tensor_i64(t)[row] = m->samples[row];
		else if (t->dtype == F32)
			tensor_f32(t)[row] = rows_share(&m->rows, m->samples[row], epoch);
		else if (t->dtype == I32)
			tensor_i32(t)[row] = label ? s->label : s->split;
		else if (strcmp(t->name, "name") == 0)
			strncpy((char *)t->data + row * t->shape[1], dataset_name(m->d, m->samples[row]), t->shape[1]);
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
	span = facts_span(&m->facts, step, part, parts);
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
			fill_columns(m, span.epoch, (int)out[k].shape[0], &out[k]);
		else
			tensor_release(&out[k]);
	}
	return r;
}

/* --- life --- */

struct maker *maker_new(const struct maker_options *o, struct dataset *d)
{
	struct maker *m = xcalloc(1, sizeof(*m));

	m->d = d;
	m->last_step = -1;
	m->served = facts_fill(&m->facts, o, d);
	if (!m->served) {
		maker_free(m);
		return NULL;
	}
	rows_init(&m->rows, &m->facts, d, m->served, o->max_bad);
	m->samples = xcalloc(o->batch, sizeof(*m->samples));
	m->worker_count = omp_get_max_threads();
	m->workers = xcalloc(m->worker_count, sizeof(*m->workers));
	for (int i = 0; i < m->worker_count; i++)
		worker_init(&m->workers[i], o->exif, o->fast ? rows_least_side(&m->rows) : 0);
	rows_cache(&m->rows, &m->workers[0], o->cache);
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
	rows_release(&m->rows);
	bags_release(&m->facts.members);
	dataset_free(m->d);
	free(m->workers);
	free(m->served);
	free(m->samples);
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
	return atomic_load(&m->rows.bad_count);
}

void maker_say_missed(const struct maker *m)
{
	long long missed = atomic_load(&m->rows.missed), all = missed + atomic_load(&m->rows.bounded);

	if (missed)
		note("%lld of %lld pairs had no crops of that iou in %d tries: those that came closest were taken", missed, all,
		     BOXES_TRIES);
}

int maker_draws(struct maker *m, int sample, uint32_t epoch, struct draw *draws, int wh[2])
{
	int member, size[2];

	if (worker_open(&m->workers[0], m->d, sample, &wh[0], &wh[1]) < 0)
		return -1;
	rows_draw(&m->rows, sample, epoch, -1, wh[0], wh[1], draws);
	if (m->facts.from == m->facts.full)
		return 0;
	member = rows_member(&m->rows, sample, epoch);
	if (worker_open(&m->workers[0], m->d, member, &size[0], &size[1]) < 0)
		return -1;
	rows_draw(&m->rows, sample, epoch, member, size[0], size[1], draws);
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
