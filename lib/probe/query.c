#include "lib/probe/query.h"
#include "lib/base/canvas.h"
#include "lib/base/files.h"
#include "lib/base/rng.h"
#include "lib/probe/bagging.h"
#include "lib/probe/outfile.h"

#include <math.h>

const struct param query_params[] = {
	{ "which", 0, 0, 0, "queries: random, confused or dense", "random" },
	{ "n", 8, 1, 200, "at most so many rows of the sheet", NULL },
	{ "k", 8, 1, 50, "neighbours in a row", NULL },
	{ "seed", 0, 0, 1e15, "of the choice of queries", NULL },
	{ "file", 0, 0, 0, "where the sheet goes to", "neighbours.png" },
	{ "tsv", 0, 0, 0, "where names and cosines go to", "neighbours.tsv" },
	{ NULL, 0, 0, 0, NULL, NULL }
};

/* Candidates for a row and their neighbours among the training samples. */
struct search {
	const struct features *f;
	enum split split;              /* of the queries */
	int64_t count;
	int k;
	int64_t *row;                  /* (count): in their split */
	int32_t *near;                 /* (count, k), the nearest first */
	double *cosine;                /* (count, k) */
	int64_t *shown, rows;          /* the candidates that are shown, in order */
};

/* --- ways to choose queries --- */

static void take_random(struct search *s, int64_t n, int64_t seed)
{
	int64_t total = s->f->set[TEST].count;

	s->count = MIN(n, total);
	s->row = xcalloc(s->count, sizeof(*s->row));
	for (int64_t i = 0; i < s->count; i++)
		s->row[i] = rng_permute((uint64_t)seed, 0, RNG_PROBE, (uint32_t)total, (uint32_t)i);
}

static void take_all(struct search *s, int64_t n, int64_t seed)
{
	(void)n;
	(void)seed;
	s->count = s->f->set[s->split].count;
	s->row = xcalloc(s->count, sizeof(*s->row));
	for (int64_t i = 0; i < s->count; i++)
		s->row[i] = i;
}

static int32_t label_of(const struct search *s, int64_t i)
{
	return s->f->set[s->split].label[s->row[i]];
}

static int32_t near_label(const struct search *s, int64_t i, int j)
{
	return s->f->set[TRAIN].label[s->near[i * s->k + j]];
}

/* What rows are sorted by, the largest first; NAN: not to be shown. */
static double score_random(const struct search *s, int64_t i)
{
	(void)s;
	return -(double)i;
}

static double score_confused(const struct search *s, int64_t i)
{
	return label_of(s, i) != near_label(s, i, 0) ? s->cosine[i * s->k] : NAN;
}

static double score_dense(const struct search *s, int64_t i)
{
	double sum = 0;

	for (int j = 0; j < s->k; j++)
		sum += s->cosine[i * s->k + j];
	return sum / s->k;
}

static const struct way {
	const char *name;
	enum split split;
	bool labels;                   /* all must be known */
	bool apart;                    /* what a row shows is not shown again as a query */
	void (*take)(struct search *s, int64_t n, int64_t seed);
	double (*score)(const struct search *s, int64_t i);
} ways[] = {
	{ "random", TEST, false, false, take_random, score_random },
	{ "confused", TEST, true, false, take_all, score_confused },
	{ "dense", TRAIN, false, true, take_all, score_dense },
};

static const struct way *find_way(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++)
		if (strcmp(ways[i].name, name) == 0)
			return &ways[i];
	return NULL;
}

/* --- the search --- */

static double dot(const float *a, const float *b, int64_t dim)
{
	double sum = 0;

	for (int64_t d = 0; d < dim; d++)
		sum += (double)a[d] * b[d];
	return sum;
}

static double cosine_of(const float *a, const float *b, int64_t dim)
{
	double norms = sqrt(dot(a, a, dim) * dot(b, b, dim));

	return norms > 0 ? dot(a, b, dim) / norms : 0;
}

static void find(struct search *s)
{
	const struct samples *train = &s->f->set[TRAIN], *from = &s->f->set[s->split];
	int64_t dim = s->f->dim;

	s->near = xcalloc(s->count * s->k, sizeof(*s->near));
	s->cosine = xcalloc(s->count * s->k, sizeof(*s->cosine));
	if (s->split == TRAIN) {
		bagging_run(train->x[0], train->count, dim, s->k, BAGGING_COSINE, s->near);
	} else {
		float *x = xaligned(s->count * dim * sizeof(float));

		for (int64_t i = 0; i < s->count; i++)
			memcpy(x + i * dim, from->x[0] + s->row[i] * dim, dim * sizeof(float));
		bagging_query(train->x[0], train->count, x, s->count, dim, s->k, BAGGING_COSINE, s->near);
		free(x);
	}
#pragma omp parallel for
	for (int64_t i = 0; i < s->count * s->k; i++)
		s->cosine[i] = cosine_of(from->x[0] + s->row[i / s->k] * dim, train->x[0] + s->near[i] * dim, dim);
}

struct ranked {
	double score;
	int64_t at;
};

static int by_score(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	return x->score != y->score ? (x->score < y->score) - (x->score > y->score) : (x->at > y->at) - (x->at < y->at);
}

/* The rows that are shown; returns of how many candidates. */
static int64_t rank(struct search *s, const struct way *way, int64_t n)
{
	struct ranked *all = xcalloc(s->count, sizeof(*all));
	bool *seen = xcalloc(s->f->set[TRAIN].count, sizeof(*seen));
	int64_t count = 0;

	for (int64_t i = 0; i < s->count; i++) {
		double score = way->score(s, i);

		if (!isnan(score))
			all[count++] = (struct ranked){ score, i };
	}
	qsort(all, count, sizeof(*all), by_score);
	s->shown = xcalloc(n, sizeof(*s->shown));
	for (int64_t i = 0; i < count && s->rows < n; i++) {
		int64_t at = all[i].at;

		if (way->apart && seen[s->row[at]])
			continue;
		for (int j = 0; j < s->k; j++)
			seen[s->near[at * s->k + j]] = true;
		s->shown[s->rows++] = at;
	}
	free(all);
	free(seen);
	return count;
}

/* --- lines --- */

static int emit(int fd, void *arg)
{
	const struct search *s = arg;
	char *text = NULL, query[4096], near[4096];
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int r;

	if (!out)
		return fail("unable to keep lines:");
	fputs("query\tquery_label\trank\tneighbour\tlabel\tcosine\n", out);
	for (int64_t i = 0; i < s->rows; i++)
		for (int j = 0; j < s->k; j++) {
			int64_t at = s->shown[i];

			fprintf(out, "%s\t%d\t%d\t%s\t%d\t%.6f\n",
				features_name(s->f, s->split, s->row[at], query, sizeof(query)), label_of(s, at), j + 1,
				features_name(s->f, TRAIN, s->near[at * s->k + j], near, sizeof(near)), near_label(s, at, j),
				s->cosine[at * s->k + j]);
		}
	fclose(out);
	r = write_all(fd, text, size);
	free(text);
	return r < 0 ? fail("unable to write the lines:") : 0;
}

/* --- the sheet --- */

enum { SIDE = 64, FRAME = 3, GAP = 6, MARGIN = 16, LINES = 2 };
enum { GREEN = 0x2ca02c, RED = 0xd62728, GREY = 0xb0b0b0, WHITE = 0xffffff };

struct cells {
	int scale, w, h;               /* of a picture; of a cell, frame, lines of text and gap and all */
};

static void draw_cell(struct canvas *c, const struct cells *g, const struct features *f, int x, int y, int split, int64_t row,
		      uint32_t frame, const char *second)
{
	int w = f->small_w * g->scale, h = f->small_h * g->scale;
	size_t size = (size_t)f->small_h * f->small_w * 3;
	char text[64];

	features_class(f, f->set[split].label[row], text, MIN(sizeof(text), (size_t)((w + 2 * FRAME) / CANVAS_TEXT_W + 1)));
	canvas_box(c, x, y, w + 2 * FRAME, h + 2 * FRAME, frame);
	canvas_put(c, x + FRAME, y + FRAME, f->set[split].small + row * size, f->small_w, f->small_h, g->scale);
	canvas_text(c, x + FRAME, y + h + 2 * FRAME + 3, 1, text);
	canvas_text(c, x + FRAME, y + h + 2 * FRAME + 3 + CANVAS_TEXT_H, 1, second);
}

static void draw_row(struct canvas *c, const struct cells *g, const struct search *s, int64_t at, int y)
{
	draw_cell(c, g, s->f, MARGIN, y, s->split, s->row[at], WHITE, "");
	for (int j = 0; j < s->k; j++) {
		int32_t a = label_of(s, at), b = near_label(s, at, j);
		char cosine[16];

		snprintf(cosine, sizeof(cosine), "%.4f", s->cosine[at * s->k + j]);
		draw_cell(c, g, s->f, 2 * MARGIN + (j + 1) * g->w, y, TRAIN, s->near[at * s->k + j],
			  a < 0 || b < 0 ? GREY : a == b ? GREEN : RED, cosine);
	}
}

static int draw(const struct search *s, const char *path)
{
	int scale = MAX(1, SIDE / MAX(s->f->small_w, s->f->small_h)), r;
	struct cells g = { scale, s->f->small_w * scale + 2 * FRAME + GAP,
			   s->f->small_h * scale + 2 * FRAME + 3 + LINES * CANVAS_TEXT_H + GAP };
	struct canvas c;

	canvas_init(&c, 3 * MARGIN + (s->k + 1) * g.w, 2 * MARGIN + (int)MAX(s->rows, 1) * g.h);
	if (s->rows == 0)
		canvas_text(&c, MARGIN, MARGIN, 1, "there is none");
	for (int64_t i = 0; i < s->rows; i++)
		draw_row(&c, &g, s, s->shown[i], MARGIN + (int)i * g.h);
	r = canvas_write(&c, path);
	canvas_release(&c);
	return r;
}

/* --- the probe --- */

int query_check(const struct choice *c)
{
	static const char *const whole[] = { "n", "k", "seed" }, *const files[] = { "file", "tsv" };

	if (!find_way(choice_text(c, "which")))
		return fail_code(EXIT_USAGE, "parameter 'which=%s' of probe 'neighbours' is neither random, confused nor dense",
				 choice_text(c, "which"));
	for (size_t i = 0; i < ARRAY_SIZE(whole); i++)
		if (choice_value(c, whole[i]) != floor(choice_value(c, whole[i])))
			return fail_code(EXIT_USAGE, "parameter '%s=%g' of probe 'neighbours' is no whole number", whole[i],
					 choice_value(c, whole[i]));
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		if (outfile_wanted(choice_text(c, files[i])) && outfile_check(choice_text(c, files[i])) < 0)
			return -1;
	return 0;
}

/* Whether there is enough to search, and labels where a way needs them. */
static int refuse(const struct features *f, const struct way *way, int k)
{
	int64_t need = way->split == TRAIN ? k + 1 : k, have = f->set[TRAIN].count;

	if (have < need)
		return fail_code(EXIT_USAGE, "%d neighbours need %lld training samples and there are %lld: give a smaller k", k,
				 (long long)need, (long long)have);
	if (f->set[way->split].count == 0)
		return fail_code(EXIT_USAGE,
				 "neighbours asks for test samples, and there is none: give augment data that has them, or "
				 "--holdout, or neighbours which=dense");
	for (int split = 0; way->labels && split < SPLITS; split++)
		for (int64_t i = 0; i < f->set[split].count; i++)
			if (f->set[split].label[i] < 0)
				return fail_code(EXIT_USAGE,
						 "neighbours which=%s needs labels, and a sample has none: give augment class "
						 "folders, or --labels FILE",
						 way->name);
	return 0;
}

static void print(const struct search *s, const struct way *way, int64_t candidates, FILE *out)
{
	int64_t same = 0, known = 0;

	for (int64_t i = 0; i < s->rows; i++)
		for (int j = 0; j < s->k; j++) {
			int32_t a = label_of(s, s->shown[i]), b = near_label(s, s->shown[i], j);

			known += a >= 0 && b >= 0;
			same += a >= 0 && a == b;
		}
	fprintf(out, ", \"which\": \"%s\", \"queries\": %lld, \"k\": %d, \"candidates\": %lld", way->name, (long long)s->rows,
		s->k, (long long)candidates);
	if (known > 0)
		fprintf(out, ", \"same_class\": %.4f", 100.0 * same / known);
}

int query_run(const struct choice *c, const struct features *f, FILE *out)
{
	const struct way *way = find_way(choice_text(c, "which"));
	const char *file = choice_text(c, "file"), *tsv = choice_text(c, "tsv");
	int64_t n = (int64_t)choice_value(c, "n"), candidates;
	struct search s = { .f = f, .split = way->split, .k = (int)choice_value(c, "k") };
	int r = 0;

	if (refuse(f, way, s.k) < 0)
		return -1;
	way->take(&s, n, (int64_t)choice_value(c, "seed"));
	find(&s);
	candidates = rank(&s, way, n);
	print(&s, way, candidates, out);
	if (outfile_wanted(file)) {
		r = draw(&s, file);
		outfile_print(out, "file", file);
	}
	if (r == 0 && outfile_wanted(tsv)) {
		r = write_whole(tsv, emit, &s);
		outfile_print(out, "tsv", tsv);
	}
	free(s.row);
	free(s.near);
	free(s.cosine);
	free(s.shown);
	return r;
}
