#include "lib/probe/features.h"
#include "lib/probe/thumbnail.h"

#include <math.h>
#include <unistd.h>

enum { CLASSES_MAX = 1 << 20 };
#define LARGEST 1e15f

void features_init(struct features *f, const char *on, int64_t dim, int views, int name_size)
{
	*f = (struct features){ .dim = dim, .views = views, .name_size = name_size };
	if (views < 1 || views > FEATURE_VIEWS || format(f->on, sizeof(f->on), "%s", on) < 0)
		bug("features '%s' of %d views", on, views);
}

void features_release(struct features *f)
{
	for (int s = 0; s < SPLITS; s++) {
		struct samples *set = &f->set[s];

		for (int v = 0; v < FEATURE_VIEWS; v++)
			free(set->x[v]);
		free(set->label);
		free(set->index);
		free(set->name);
		free(set->small);
	}
	free(f->classes);
	*f = (struct features){ .dim = 0 };
}

void features_keep_small(struct features *f, int64_t h, int64_t w)
{
	f->factor = thumbnail_factor(h, w);
	f->view_h = h;
	f->view_w = w;
	f->small_h = (int)h / f->factor;
	f->small_w = (int)w / f->factor;
}

static size_t small_size(const struct features *f)
{
	return (size_t)f->small_h * f->small_w * 3;
}

int features_fit(const struct features *f, int64_t samples)
{
	double need = (double)samples * (f->dim * f->views * sizeof(float) + small_size(f));
	double have = (double)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);

	if (need < 0.75 * have)
		return 0;
	return fail_code(EXIT_USAGE,
			 "%lld samples of %lld values need %.1f GB and this machine has %.1f: give augment a smaller --size, or "
			 "less data",
			 (long long)samples, (long long)f->dim * f->views, need / 1e9, have / 1e9);
}

static void grow(const struct features *f, struct samples *set, int64_t count)
{
	if (count <= set->room)
		return;
	set->room = MAX(count, set->room * 2);
	for (int v = 0; v < f->views; v++)
		set->x[v] = xrealloc(set->x[v], set->room, f->dim * sizeof(float));
	set->label = xrealloc(set->label, set->room, sizeof(*set->label));
	set->index = xrealloc(set->index, set->room, sizeof(*set->index));
	if (f->name_size)
		set->name = xrealloc(set->name, set->room, f->name_size);
	if (f->view_h)
		set->small = xrealloc(set->small, set->room, small_size(f));
}

/* --- one batch --- */

enum { LABEL, SPLIT, INDEX, NAME, PICTURE, COLUMNS };
static const struct {
	const char *name;
	enum dtype dtype;
	int rank;
} columns[COLUMNS] = { { "label", I32, 1 }, { "split", I32, 1 }, { "index", I64, 1 }, { "name", U8, 2 }, { "view0", U8, 4 } };

static int find(const struct tensor *batch, int count, const char *name, const struct tensor **found)
{
	for (int i = 0; i < count; i++)
		if (strcmp(batch[i].name, name) == 0) {
			*found = &batch[i];
			return 0;
		}
	return fail("'%s' is missing in a batch", name);
}

static int find_views(const struct features *f, const struct tensor *batch, int count, const struct tensor **x)
{
	for (int v = 0; v < f->views; v++) {
		char name[64], spec[96];

		snprintf(name, sizeof(name), "%s%d", f->on, v);
		if (find(batch, count, name, &x[v]) < 0)
			return -1;
		if ((x[v]->dtype != F32 && x[v]->dtype != U8) || x[v]->rank < 2 || x[v]->shape[0] != x[0]->shape[0] ||
		    tensor_count(x[v]) != x[0]->shape[0] * f->dim)
			return fail("'%s' is %s: %lld values a sample are expected", name, tensor_spec(x[v], spec, sizeof(spec)),
				    (long long)f->dim);
	}
	return 0;
}

static bool is_picture(const struct features *f, const struct tensor *t)
{
	return t->shape[1] == f->view_h && t->shape[2] == f->view_w && t->shape[3] == 3;
}

static int find_columns(const struct features *f, const struct tensor *batch, int count, int64_t rows,
			const struct tensor **column)
{
	for (int c = 0; c < COLUMNS; c++) {
		if ((c == NAME && !f->name_size) || (c == PICTURE && !f->view_h))
			continue;
		if (find(batch, count, columns[c].name, &column[c]) < 0)
			return -1;
		if (column[c]->dtype != columns[c].dtype || column[c]->rank != columns[c].rank || column[c]->shape[0] != rows ||
		    (c == NAME && column[c]->shape[1] != f->name_size) || (c == PICTURE && !is_picture(f, column[c])))
			return fail("'%s' is of a wrong type or shape", columns[c].name);
	}
	return 0;
}

/* Refuses NaN, infinity and what is as good as that, its square being beyond single precision, by the number of the first sample
 * that has one. */
static int check_finite(const struct features *f, const struct tensor *x, const struct tensor *index)
{
	for (int64_t i = 0; x->dtype == F32 && i < x->shape[0]; i++) {
		const float *row = tensor_f32(x) + i * f->dim;
		int64_t n = 0;

		for (int64_t d = 0; d < f->dim; d++)
			n += !(fabsf(row[d]) < LARGEST);
		if (n > 0)
			return fail("%lld of %lld values of '%s' are not finite, or beyond %g, for image %lld (row %lld of its "
				    "batch): the network in front is broken there",
				    (long long)n, (long long)f->dim, x->name, LARGEST, (long long)tensor_i64(index)[i],
				    (long long)i);
	}
	return 0;
}

static void copy_view(float *to, const struct tensor *x, int64_t row, int64_t dim)
{
	if (x->dtype == F32) {
		memcpy(to, tensor_f32(x) + row * dim, dim * sizeof(float));
		return;
	}
	for (int64_t d = 0; d < dim; d++)
		to[d] = (float)tensor_u8(x)[row * dim + d] / 255;
}

int features_add(struct features *f, const struct tensor *batch, int count)
{
	const struct tensor *x[FEATURE_VIEWS], *column[COLUMNS];
	int64_t rows;

	if (find_views(f, batch, count, x) < 0)
		return -1;
	rows = x[0]->shape[0];
	if (find_columns(f, batch, count, rows, column) < 0)
		return -1;
	for (int v = 0; v < f->views; v++)
		if (check_finite(f, x[v], column[INDEX]) < 0)
			return -1;
	for (int64_t i = 0; i < rows; i++) {
		int32_t split = tensor_i32(column[SPLIT])[i];
		struct samples *set;

		if (split < 0 || split >= SPLITS)
			return fail("a sample is of split %d, neither train (0) nor test (1)", split);
		set = &f->set[split];
		grow(f, set, set->count + 1);
		for (int v = 0; v < f->views; v++)
			copy_view(set->x[v] + set->count * f->dim, x[v], i, f->dim);
		set->label[set->count] = tensor_i32(column[LABEL])[i];
		set->index[set->count] = tensor_i64(column[INDEX])[i];
		if (f->name_size)
			memcpy(set->name + set->count * f->name_size, tensor_u8(column[NAME]) + i * f->name_size, f->name_size);
		if (f->view_h)
			thumbnail_make(tensor_u8(column[PICTURE]) + i * f->view_h * f->view_w * 3, f->view_h, f->view_w,
				       f->factor, set->small + set->count * small_size(f));
		set->count++;
	}
	return 0;
}

/* --- words --- */

void features_keep_classes(struct features *f, const char *classes, size_t size)
{
	free(f->classes);
	f->classes = xcalloc(size + 1, 1);
	memcpy(f->classes, classes, size);
}

/* At most n bytes of text that end before a NUL, on one line and without tabs. */
static const char *one_line(const char *text, size_t n, char *dst, size_t size)
{
	size_t i = 0;

	for (; i < MIN(n, size - 1) && text[i]; i++)
		dst[i] = (unsigned char)text[i] < ' ' || text[i] == 0x7f ? '?' : text[i];
	dst[i] = '\0';
	return dst;
}

const char *features_name(const struct features *f, int split, int64_t row, char *dst, size_t size)
{
	const struct samples *set = &f->set[split];

	if (f->name_size && set->name[row * f->name_size])
		return one_line(set->name + row * f->name_size, f->name_size, dst, size);
	format(dst, size, "%lld", (long long)set->index[row]);
	return dst;
}

const char *features_class(const struct features *f, int32_t label, char *dst, size_t size)
{
	const char *line = f->classes;

	for (int32_t i = 0; line && i < label; i++) {
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	if (label >= 0 && line && *line && *line != '\n')
		return one_line(line, strcspn(line, "\n"), dst, size);
	if (label < 0)
		return one_line("?", 1, dst, size);
	format(dst, size, "%d", label);
	return dst;
}

/* --- equal columns --- */

struct column {
	uint64_t hash;                 /* of its values in all samples and views */
	int64_t at;
};

static int by_hash(const void *a, const void *b)
{
	const struct column *x = a, *y = b;

	return x->hash != y->hash ? (x->hash > y->hash) - (x->hash < y->hash) : (x->at > y->at) - (x->at < y->at);
}

static void hash_columns(const struct features *f, struct column *all)
{
	enum { BLOCK = 64 };

#pragma omp parallel for
	for (int64_t from = 0; from < f->dim; from += BLOCK)
		for (int part = 0; part < SPLITS * f->views; part++) {
			const struct samples *set = &f->set[part / f->views];
			const float *x = set->x[part % f->views];

			for (int64_t i = 0; i < set->count; i++)
				for (int64_t d = from; d < MIN(f->dim, from + BLOCK); d++) {
					uint32_t bits;

					memcpy(&bits, x + i * f->dim + d, sizeof(bits));
					all[d].hash = (all[d].hash ^ bits) * 0x9e3779b97f4a7c15ULL;
					all[d].hash ^= all[d].hash >> 32;
				}
		}
}

/* times[d]: how many columns the first of them, d, stands for; 0: another one stands for it. Returns how many stand for some. */
static int64_t count_equal(struct features *f, float *times)
{
	struct column *all = xcalloc(f->dim, sizeof(*all));
	int64_t left = 0, first = 0;

	for (int64_t d = 0; d < f->dim; d++)
		all[d].at = d;
	hash_columns(f, all);
	qsort(all, f->dim, sizeof(*all), by_hash);
	for (int64_t d = 0; d < f->dim; d++) {
		if (d == 0 || all[d].hash != all[d - 1].hash) {
			first = all[d].at;
			left++;
		}
		times[first]++;
	}
	free(all);
	return left;
}

void features_fold(struct features *f)
{
	float *times = xaligned(f->dim * sizeof(*times));
	int64_t left = count_equal(f, times);

	for (int part = 0; left < f->dim && part < SPLITS * f->views; part++) {
		const struct samples *set = &f->set[part / f->views];
		float *x = set->x[part % f->views], *to = x;

		for (int64_t i = 0; i < set->count; i++)
			for (int64_t d = 0; d < f->dim; d++)
				if (times[d] > 0)
					*to++ = x[i * f->dim + d] * sqrtf(times[d]);
	}
	f->dim = left;
	free(times);
}

/* --- what a classifier reads --- */

static int check_labels(const struct samples *set, const char *split, const char *probe, int32_t *highest)
{
	if (set->count == 0)
		return fail_code(EXIT_USAGE,
				 "%s fits on split train and reports on split test, and there is no sample of split %s: give "
				 "augment data that has both, or --holdout",
				 probe, split);
	for (int64_t i = 0; i < set->count; i++) {
		if (set->label[i] < 0)
			return fail_code(EXIT_USAGE,
					 "%s needs labels, and a sample of split %s has none: give augment class folders, or "
					 "--labels FILE",
					 probe, split);
		*highest = MAX(*highest, set->label[i]);
	}
	return 0;
}

/* Whether all rows of a set are the first one. */
static bool all_equal(const struct samples *set, int64_t dim)
{
	for (int64_t i = 1; i < set->count; i++)
		if (memcmp(set->x[0], set->x[0] + i * dim, dim * sizeof(float)) != 0)
			return false;
	return true;
}

static bool one_class(const struct samples *set)
{
	for (int64_t i = 1; i < set->count; i++)
		if (set->label[i] != set->label[0])
			return false;
	return true;
}

int features_labelled(const struct features *f, const char *probe, struct labelled *sets)
{
	const struct samples *train = &f->set[TRAIN], *test = &f->set[TEST];
	int32_t highest = 0;

	if (check_labels(train, "train", probe, &highest) < 0 || check_labels(test, "test", probe, &highest) < 0)
		return -1;
	if (highest >= CLASSES_MAX)
		return fail("label %d is beyond the %d classes that fit", highest, CLASSES_MAX);
	if (one_class(train))
		note("%s: all training samples are of class %d: nothing is told apart", probe, train->label[0]);
	if (train->count > 1 && all_equal(train, f->dim))
		note("%s: all training samples have the same %s: the network has collapsed", probe, f->on);
	*sets = (struct labelled){ train->x[0], train->count, train->label, test->x[0], test->count, test->label, f->dim,
				   highest + 1 };
	return 0;
}
