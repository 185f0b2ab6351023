#include "lib/probe/scatter.h"
#include "lib/base/canvas.h"
#include "lib/base/files.h"

#include <math.h>

/* --- lines --- */

struct lines {
	const struct chosen *c;
	const float *x;
	int dims;
};

static int emit(int fd, void *arg)
{
	const struct lines *l = arg;
	char *text = NULL, name[4096];
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int r;

	if (!out)
		return fail("unable to keep lines:");
	fputs("name\tsplit\tlabel", out);
	for (int k = 0; k < l->dims; k++)
		if (k < 3)
			fprintf(out, "\t%c", "xyz"[k]);
		else
			fprintf(out, "\tc%d", k + 1);
	fputc('\n', out);
	for (int64_t i = 0; i < l->c->count; i++) {
		fprintf(out, "%s\t%s\t%d", chosen_name(l->c, i, name, sizeof(name)),
			l->c->at[i].split == TRAIN ? "train" : "test", chosen_label(l->c, i));
		for (int k = 0; k < l->dims; k++)
			fprintf(out, "\t%.9g", l->x[i * l->dims + k]);
		fputc('\n', out);
	}
	fclose(out);
	r = write_all(fd, text, size);
	free(text);
	return r < 0 ? fail("unable to write the lines:") : 0;
}

int scatter_lines(const struct chosen *c, const float *x, int dims, const char *path)
{
	return write_whole(path, emit, &(struct lines){ c, x, dims });
}

/* --- colours --- */

static const uint32_t first_colours[] = { 0x1f77b4, 0xff7f0e, 0x2ca02c, 0xd62728, 0x9467bd,
					  0x8c564b, 0xe377c2, 0x555555, 0xbcbd22, 0x17becf };

/* One channel of a hue of 0..6 with full saturation: 1 for a third of the circle. */
static double channel(double hue, int which)
{
	double d = fabs(fmod(hue + 6 - 2 * which, 6) - 3);

	return MIN(MAX(d - 1, 0), 1);
}

/* Beyond the table hues go on by the golden angle, in three lightnesses. */
uint32_t scatter_colour(int32_t label)
{
	double hue = fmod(label * 0.61803398875, 1) * 6, light[] = { 0.9, 0.65, 0.45 };
	uint32_t colour = 0;

	if (label < 0)
		return 0xb0b0b0;
	if (label < (int32_t)ARRAY_SIZE(first_colours))
		return first_colours[label];
	for (int k = 0; k < 3; k++)
		colour = colour << 8 | (uint32_t)(255 * light[label % 3] * (0.15 + 0.85 * channel(hue, k)));
	return colour;
}

/* --- places on a canvas --- */

enum { MARGIN = 24 };

struct window {
	double x0, y0, scale;          /* pixel = (x - x0) * scale from the left, (y0 - y) * scale from the top */
	int w, h;                      /* pixels that the places take */
};

/* The longer side is as many pixels as are said. */
static struct window window_over(const float *x, int64_t n, int dims, int side)
{
	double low[2] = { INFINITY, INFINITY }, high[2] = { -INFINITY, -INFINITY }, scale;

	for (int64_t i = 0; i < n; i++)
		for (int k = 0; k < 2; k++) {
			low[k] = MIN(low[k], x[i * dims + k]);
			high[k] = MAX(high[k], x[i * dims + k]);
		}
	scale = (side - 1) / MAX(MAX(high[0] - low[0], high[1] - low[1]), 1e-30);
	return (struct window){ low[0], high[1], scale, (int)((high[0] - low[0]) * scale) + 1,
				(int)((high[1] - low[1]) * scale) + 1 };
}

static int pixel_x(const struct window *w, const float *at)
{
	return (int)((at[0] - w->x0) * w->scale);
}

static int pixel_y(const struct window *w, const float *at)
{
	return (int)((w->y0 - at[1]) * w->scale);
}

/* --- the legend --- */

enum { LEGEND_W = 230, LEGEND_LINE = 24, LEGEND_H = 500, LETTERS = (LEGEND_W - 24) / (2 * CANVAS_TEXT_W) };

/* Classes that are there, a line each, as many as there is room for. */
static void draw_legend(struct canvas *canvas, const struct chosen *c, int x)
{
	int32_t highest = -1, shown = 0, left = 0;
	char text[LETTERS + 1];
	bool *seen, unknown = false;

	for (int64_t i = 0; i < c->count; i++)
		highest = MAX(highest, chosen_label(c, i));
	seen = xcalloc(highest + 1, sizeof(*seen));
	for (int64_t i = 0; i < c->count; i++)
		if (chosen_label(c, i) >= 0)
			seen[chosen_label(c, i)] = true;
		else
			unknown = true;
	for (int32_t k = unknown ? -1 : 0; k <= highest; k++) {
		int y = MARGIN + shown * LEGEND_LINE;

		if (k >= 0 && !seen[k])
			continue;
		if (y + 3 * LEGEND_LINE > canvas->h) {
			left++;
			continue;
		}
		canvas_disc(canvas, x + 8, y + 7, 6, scatter_colour(k));
		canvas_text(canvas, x + 24, y, 2, features_class(c->of, k, text, sizeof(text)));
		shown++;
	}
	format(text, sizeof(text), "%d more", left);
	if (left)
		canvas_text(canvas, x + 24, MARGIN + shown * LEGEND_LINE, 2, text);
	free(seen);
}

/* --- points --- */

enum { PLANE = 1000, MANY = 3000 };    /* pixels a side; points from which on they are drawn small */

int scatter_points(const struct chosen *c, const float *x, int dims, const char *path)
{
	struct window w = window_over(x, c->count, dims, PLANE);
	struct canvas canvas;
	int r;

	canvas_init(&canvas, w.w + 3 * MARGIN + LEGEND_W, MAX(w.h, LEGEND_H) + 2 * MARGIN);
	for (int64_t i = 0; i < c->count; i++)
		canvas_disc(&canvas, MARGIN + pixel_x(&w, x + i * dims), MARGIN + pixel_y(&w, x + i * dims),
			    c->count < MANY ? 3 : 2, scatter_colour(chosen_label(c, i)));
	draw_legend(&canvas, c, w.w + 2 * MARGIN);
	r = canvas_write(&canvas, path);
	canvas_release(&canvas);
	return r;
}

/* --- pictures --- */

enum { THUMBS_PLANE = 2000, FRAME = 2 };

struct grid {
	int cell, columns, rows;       /* pixels a side */
	int64_t *best;                 /* (rows, columns): the sample nearest to the middle of each cell; -1: none is in it */
};

static struct grid grid_over(const struct window *w, const float *x, int64_t n, int dims, int cell)
{
	struct grid g = { cell, (w->w + cell - 1) / cell, (w->h + cell - 1) / cell, NULL };
	double *distance = xcalloc((size_t)g.rows * g.columns, sizeof(*distance));

	g.best = xcalloc((size_t)g.rows * g.columns, sizeof(*g.best));
	for (int i = 0; i < g.rows * g.columns; i++)
		g.best[i] = -1;
	for (int64_t i = 0; i < n; i++) {
		int u = pixel_x(w, x + i * dims), v = pixel_y(w, x + i * dims), at = v / cell * g.columns + u / cell;
		double d = hypot(u % cell - cell / 2.0, v % cell - cell / 2.0);

		if (g.best[at] < 0 || d < distance[at]) {
			g.best[at] = i;
			distance[at] = d;
		}
	}
	free(distance);
	return g;
}

static void draw_cell(struct canvas *canvas, const struct chosen *c, int64_t i, int x, int y)
{
	const struct features *f = c->of;
	const uint8_t *small = f->set[c->at[i].split].small + c->at[i].row * f->small_h * f->small_w * 3;

	canvas_box(canvas, x, y, f->small_w + 2 * FRAME, f->small_h + 2 * FRAME, scatter_colour(chosen_label(c, i)));
	canvas_put(canvas, x + FRAME, y + FRAME, small, f->small_w, f->small_h, 1);
}

int scatter_thumbs(const struct chosen *c, const float *x, int dims, const char *path)
{
	struct window w = window_over(x, c->count, dims, THUMBS_PLANE);
	struct grid g = grid_over(&w, x, c->count, dims, MAX(c->of->small_w, c->of->small_h) + 2 * FRAME + 2);
	int width = g.columns * g.cell, r;
	struct canvas canvas;

	canvas_init(&canvas, width + 3 * MARGIN + LEGEND_W, MAX(g.rows * g.cell, LEGEND_H) + 2 * MARGIN);
	for (int i = 0; i < g.rows * g.columns; i++)
		if (g.best[i] >= 0)
			draw_cell(&canvas, c, g.best[i], MARGIN + i % g.columns * g.cell, MARGIN + i / g.columns * g.cell);
	draw_legend(&canvas, c, width + 2 * MARGIN);
	r = canvas_write(&canvas, path);
	canvas_release(&canvas);
	free(g.best);
	return r;
}
