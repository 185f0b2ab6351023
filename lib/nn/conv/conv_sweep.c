/* conv_sweep.c - one sweep over the pixels of a result: row panels with equal taps, run together (conv_amx.h) */
#include "lib/nn/conv/conv_amx.h"

struct phase sweep_forward(const struct node *x, const struct node *in)
{
	struct phase p = { .every = 1, .by = x->stride, .count = taps_of(x, in) };
	int columns = p.count / x->k;

	for (int i = 0; i < p.count; i++)
		p.tap[i] = (struct tap){ i, i / columns - x->pad, i % columns - x->pad };
	return p;
}

struct phase sweep_backward(const struct node *x, int py, int px)
{
	struct phase p = { .py = py, .px = px, .every = x->stride, .by = 1 };

	for (int i = 0; i < x->k * x->k; i++) {
		int y = py + x->pad - i / x->k, at = px + x->pad - i % x->k;

		if (y % x->stride == 0 && at % x->stride == 0)
			p.tap[p.count++] = (struct tap){ i, y / x->stride, at / x->stride };
	}
	return p;
}

/* A row panel: pixels of the result from i on in row j, or pixel i of the images from image on. */
struct spot {
	int image, j, i;
	uint64_t taps;           /* bits of those that lie inside */
};
#define LISTED UINT64_MAX

struct lists {
	struct spot *spot;
	struct amx_panel *panel;
	struct amx_group *group;
	int32_t *left, *right;
	int spots, groups, steps;
};

static uint64_t taps_inside(const struct sweep *s, const struct phase *p, int j, int i)
{
	uint64_t bits = 0;

	for (int t = 0; t < p->count; t++) {
		int y = p->by * j + p->tap[t].y, x = p->by * i + p->tap[t].x;

		if (y >= 0 && y < s->h && (s->bordered || (x >= 0 && x < s->w)))
			bits |= (uint64_t)1 << t;
	}
	return bits;
}

static struct lists lists_for(const struct sweep *s, const struct phase *p)
{
	size_t spots = sweep_by_images(s) ? (size_t)((s->images + 15) / 16) * s->to_h * s->to_w
				    : (size_t)s->images * (s->y1 - s->y0) * ((s->to_w + 15) / 16);
	size_t groups = MAX(1, p->count * p->count), steps = groups * MAX(1, p->count * amx_steps(s->channels));
	char *at = s->amx->lend(s->room, AMX_LISTS, spots * (sizeof(struct spot) + sizeof(struct amx_panel)) +
				      groups * sizeof(struct amx_group) + 2 * steps * sizeof(int32_t));
	struct lists l = { .spot = (struct spot *)at };

	l.panel = (struct amx_panel *)(l.spot + spots);
	l.group = (struct amx_group *)(l.panel + spots);
	l.left = (int32_t *)(l.group + groups);
	l.right = l.left + steps;
	return l;
}

static void list_steps(const struct sweep *s, const struct phase *p, struct lists *l, struct amx_group *g, uint64_t taps)
{
	int steps = amx_steps(s->channels);

	g->left = l->left + l->steps;
	g->right = l->right + l->steps;
	for (int t = 0; t < p->count; t++)
		for (int i = 0; i < steps && (taps >> t & 1); i++, g->steps++, l->steps++) {
			int64_t pixel = (int64_t)p->tap[t].y * s->from.w + p->tap[t].x;

			l->left[l->steps] = (int32_t)((pixel * s->from.ld + amx_start(s->channels, i)) * 2);
			l->right[l->steps] = (p->tap[t].weight * steps + i) * AMX_STEP_BYTES;
		}
}

static struct amx_panel panel_at(const struct sweep *s, const struct phase *p, const struct spot *o)
{
	int64_t y = p->py + p->every * o->j, x = p->px + p->every * o->i;

	return (struct amx_panel){ tile_at(&s->from, o->image, p->by * o->j, p->by * o->i),
		s->to + ((o->image * s->to_h + y) * s->to_w + x) * s->ld * (int64_t)element_size(s->result) };
}

/* Spots with equal taps become a group of row panels. */
static void list_groups(const struct sweep *s, const struct phase *p, struct lists *l)
{
	int rows = 0;

	l->groups = l->steps = 0;
	for (int first = 0; first < l->spots; first++) {
		uint64_t taps = l->spot[first].taps;
		struct amx_group *g = &l->group[l->groups];

		if (taps == LISTED)
			continue;
		*g = (struct amx_group){ .first = rows };
		list_steps(s, p, l, g, taps);
		for (int i = first; i < l->spots; i++)
			if (l->spot[i].taps == taps) {
				l->panel[rows++] = panel_at(s, p, &l->spot[i]);
				l->spot[i].taps = LISTED;
			}
		g->count = rows - g->first;
		l->groups++;
	}
}

static void add_spot(const struct sweep *s, const struct phase *p, struct lists *l, int image, int j, int i)
{
	l->spot[l->spots++] = (struct spot){ image, j, i, taps_inside(s, p, j, i) };
}

static void run_spots(const struct sweep *s, const struct phase *p, struct lists *l, int rows)
{
	int64_t pixel = (int64_t)s->ld * element_size(s->result), source = (int64_t)s->from.ld * 2;
	struct amx_work w = { .rows = rows, .depth = amx_depth(s->channels), .left_row = p->by * source, .right = s->weights,
				.right_panel = (int64_t)s->taps * amx_steps(s->channels) * AMX_STEP_BYTES, .columns = s->columns,
				.result = s->result, .add = s->add, .to_row = p->every * pixel, .panel = l->panel,
				.group = l->group };

	if (!l->spots)
		return;
	if (sweep_by_images(s)) {
		w.left_row = (int64_t)s->from.rows * s->from.w * source;
		w.to_row = (int64_t)s->to_h * s->to_w * pixel;
	}
	list_groups(s, p, l);
	w.groups = l->groups;
	s->amx->run(&w);
	l->spots = 0;
}

/* How many of start, start + every, ... lie below end. */
static int count_of(int start, int every, int end)
{
	return MAX(0, (end - start + every - 1) / every);
}

static void sweep_images(const struct sweep *s, const struct phase *p, struct lists *l)
{
	int w = count_of(p->px, p->every, s->to_w), h = count_of(p->py, p->every, s->to_h), full = s->images / 16 * 16;

	for (int j = 0; j < h; j++)
		for (int i = 0; i < w; i++)
			for (int n = 0; n < full; n += 16)
				add_spot(s, p, l, n, j, i);
	run_spots(s, p, l, 16);
	for (int j = 0; j < h && full < s->images; j++)
		for (int i = 0; i < w; i++)
			add_spot(s, p, l, full, j, i);
	run_spots(s, p, l, s->images - full);
}

/* Every row in equal parts of up to 16 pixels, of which the last may be shorter. */
static void sweep_rows(const struct sweep *s, const struct phase *p, struct lists *l)
{
	int w = count_of(p->px, p->every, s->to_w), parts = (w + 15) / 16, part = parts ? (w + parts - 1) / parts : 0;
	int last = w - part * (parts - 1), full = last == part ? parts : parts - 1;
	int j0 = count_of(p->py, p->every, s->y0), j1 = count_of(p->py, p->every, s->y1);

	for (int n = 0; n < s->images; n++)
		for (int j = j0; j < j1; j++)
			for (int i = 0; i < full; i++)
				add_spot(s, p, l, n, j, i * part);
	run_spots(s, p, l, part);
	for (int n = 0; n < s->images && full < parts; n++)
		for (int j = j0; j < j1; j++)
			add_spot(s, p, l, n, j, full * part);
	run_spots(s, p, l, last);
}

void sweep_run(const struct sweep *s, const struct phase *p)
{
	struct lists l = lists_for(s, p);

	if (sweep_by_images(s))
		sweep_images(s, p, &l);
	else
		sweep_rows(s, p, &l);
}

void sweep_flatten(struct sweep *s)
{
	s->to_w = s->w = s->images * (s->y1 - s->y0) * s->to_w;
	s->images = s->to_h = s->h = s->y1 = 1;
	s->y0 = 0;
}
