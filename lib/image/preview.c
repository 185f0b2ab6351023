#include "lib/image/preview.h"
#include "lib/base/canvas.h"

/* --- the sheet --- */

enum { GAP = 4, GROUP_GAP = 16, SIDE_MIN = 96, GROUPS_A_LINE = 4, WIDTH_MOST = 4096, LINES = 7, LINES_MORE = 3, LINE_MOST = 64 };

/* A white sheet of groups; group g holds the original and the views of sample g, each in a cell of its own size with room for
 * lines of text below: LINES, or LINES_MORE of them where anything is hidden. */
struct sheet {
	struct {
		int x, side;                    /* pixels from the group's left edge; of a side, after enlarging */
	} cell[MAKER_VIEWS + 1];
	int group_w, group_h, groups;           /* with the gap behind; groups a line */
	int lines;
	struct canvas canvas;
};

/* Pixels a side of the cell of a view: small ones are enlarged by a whole factor. */
static int enlarged(int size)
{
	return (SIDE_MIN + size - 1) / size * size;
}

static void sheet_init(struct sheet *s, const struct facts *f, int samples)
{
	int x = 0, highest = 0;

	s->lines = LINES;
	for (int v = 0; v < f->views; v++)
		if (f->view[v].law.v[LAW_HIDE] > 0 || facts_of_member(f, v) ||
		    (f->view[v].paired && recipe_pairs(&f->view[v].law)))
			s->lines = LINES + LINES_MORE;
	for (int k = 0; k <= f->views; k++) {
		s->cell[k].x = x;
		s->cell[k].side = enlarged(f->view[MAX(k - 1, 0)].size);
		x += s->cell[k].side + GAP;
		highest = MAX(highest, s->cell[k].side);
	}
	s->group_w = x - GAP + GROUP_GAP;
	s->group_h = highest + GAP + s->lines * CANVAS_TEXT_H + GROUP_GAP;
	s->groups = MAX(1, MIN(MIN(GROUPS_A_LINE, samples), WIDTH_MOST / s->group_w));
	canvas_init(&s->canvas, s->groups * s->group_w + GROUP_GAP,
		    (samples + s->groups - 1) / s->groups * s->group_h + GROUP_GAP);
}

static int cell_x(const struct sheet *s, int sample, int cell)
{
	return GROUP_GAP + sample % s->groups * s->group_w + s->cell[cell].x;
}

static int cell_y(const struct sheet *s, int sample)
{
	return GROUP_GAP + sample / s->groups * s->group_h;
}

/* Puts (size, size, 3) pixels into a cell, each pixel as often as makes its side full. */
static void sheet_put(struct sheet *s, int sample, int cell, const uint8_t *rgb, int size)
{
	canvas_put(&s->canvas, cell_x(s, sample, cell), cell_y(s, sample), rgb, size, size, s->cell[cell].side / size);
}

/* A line of text below a cell, cut at its right edge. */
static void sheet_write(struct sheet *s, int sample, int cell, int line, const char *text)
{
	int side = s->cell[cell].side, y = cell_y(s, sample) + side + GAP + line * CANVAS_TEXT_H;
	char cut[LINE_MOST];

	format(cut, sizeof(cut), "%.*s", (side + GAP) / CANVAS_TEXT_W, text);
	canvas_text(&s->canvas, cell_x(s, sample, cell), y, 1, cut);
}

/* --- what was drawn, in words --- */

static void write_mixed(struct sheet *s, int sample, int cell, const struct view_spec *spec, const struct draw *d)
{
	char text[LINE_MOST];

	snprintf(text, sizeof(text), "mix %d+%d %.3f", spec->of[0], spec->of[1], d->share);
	sheet_write(s, sample, cell, 0, text);
	snprintf(text, sizeof(text), "%dx%d+%d+%d", d->cut.w, d->cut.h, d->cut.x, d->cut.y);
	sheet_write(s, sample, cell, 1, text);
}

/* The jitter's factors stand in the order in which they were applied. */
static void write_draw(struct sheet *s, int sample, int cell, const struct view_spec *spec, const struct draw *d)
{
	static const char *const factors[4] = { "bright", "contrast", "saturate", "hue" };
	char text[LINE_MOST];
	int line = 0;

	if (spec->mixed) {
		write_mixed(s, sample, cell, spec, d);
		return;
	}
	snprintf(text, sizeof(text), "%dx%d+%d+%d", d->crop.w, d->crop.h, d->crop.x, d->crop.y);
	sheet_write(s, sample, cell, line++, text);
	for (int i = 0; d->jitter && i < 4; i++) {
		snprintf(text, sizeof(text), "%s %.3f", factors[d->order[i]], d->factor[d->order[i]]);
		sheet_write(s, sample, cell, line++, text);
	}
	snprintf(text, sizeof(text), "%s%s%s", d->grey ? "grey " : "", d->solarise ? "solar " : "", d->flip ? "flip" : "");
	if (*text)
		sheet_write(s, sample, cell, line++, text);
	snprintf(text, sizeof(text), "blur %.2f", d->sigma);
	if (d->sigma > 0)
		sheet_write(s, sample, cell, line++, text);
	snprintf(text, sizeof(text), "hide 1/%d", d->cells);
	if (d->cells)
		sheet_write(s, sample, cell, line++, text);
	snprintf(text, sizeof(text), "iou %.3f%s", d->iou, d->shared.w > 0 ? " drop" : "");
	if (d->pairing != PAIR_NONE)
		sheet_write(s, sample, cell, line, text);
}

/* The end of the name is what tells samples apart. */
static void write_name(struct sheet *s, int sample, int cell, int line, const char *name)
{
	size_t most = (size_t)(s->cell[cell].side / CANVAS_TEXT_W);

	sheet_write(s, sample, cell, line, strlen(name) > most ? name + strlen(name) - most : name);
}

static void write_original(struct sheet *s, struct maker *m, int sample, int number, int w, int h)
{
	const struct dataset *d = maker_dataset(m);
	int label = d->samples[number].label;
	char text[LINE_MOST];

	write_name(s, sample, 0, 0, dataset_bare_name(d, number));
	snprintf(text, sizeof(text), "%dx%d", w, h);
	sheet_write(s, sample, 0, 1, text);
	if (label >= 0)
		sheet_write(s, sample, 0, 2, d->classes[label]);
}

/* One sample a step: its original and its views into the cells of group i. */
static int put_sample(struct maker *m, struct sheet *s, int i, const char *const *names, uint8_t *original)
{
	int views = (int)maker_facts(m)->views, side = s->cell[0].side, number, wh[2], r;
	struct tensor t[MAKER_VIEWS + 1];
	struct draw draws[MAKER_VIEWS];

	if (maker_make(m, i, 0, 1, names, views + 1, t) < 0)
		return -1;
	number = t[0].shape[0] ? (int)tensor_i64(&t[0])[0] : -1; /* evaluation leaves unreadable ones out */
	r = number < 0 ? 0 : maker_original(m, number, side, original);
	if (r == 0 && number >= 0)
		r = maker_draws(m, number, (uint32_t)maker_epoch(m, i), draws, wh);
	if (r == 0 && number >= 0) {
		sheet_put(s, i, 0, original, side);
		write_original(s, m, i, number, wh[0], wh[1]);
	}
	for (int v = 0; v < views && r == 0 && number >= 0; v++) {
		sheet_put(s, i, v + 1, tensor_u8(&t[v + 1]), maker_facts(m)->view[v].size);
		write_draw(s, i, v + 1, &maker_facts(m)->view[v], &draws[v]);
		if (draws[v].member >= 0)
			write_name(s, i, v + 1, LINES + LINES_MORE - 1, dataset_bare_name(maker_dataset(m), draws[v].member));
	}
	for (int k = 0; k <= views; k++)
		tensor_release(&t[k]);
	return r;
}

int preview_write(struct maker *m, const char *path, int samples)
{
	int views = (int)maker_facts(m)->views, r = 0;
	char text[MAKER_VIEWS][16];
	const char *names[MAKER_VIEWS + 1] = { "index" };
	struct sheet s;
	uint8_t *original;

	if (maker_facts(m)->batch != 1)
		bug("a preview of batches of %lld", (long long)maker_facts(m)->batch);
	for (int v = 0; v < views; v++) {
		snprintf(text[v], sizeof(text[v]), "view%d", v);
		names[v + 1] = text[v];
	}
	samples = (int)MIN(samples, maker_facts(m)->samples);
	sheet_init(&s, maker_facts(m), samples);
	original = xmalloc((size_t)s.cell[0].side * s.cell[0].side * 3);
	for (int i = 0; r == 0 && i < samples; i++)
		r = put_sample(m, &s, i, names, original);
	if (r == 0)
		r = canvas_write(&s.canvas, path);
	free(original);
	canvas_release(&s.canvas);
	return r;
}
