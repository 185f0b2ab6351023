/*
 * The value of a chunk's input pixels lies in scratch with zeros around it. A panel's 16 rows are 16 pixels of an output row, or,
 * where rows are short, one pixel of 16 images; each tap of the window is the same rows read from another place, 32 channels a
 * step. Taps outside of the image are left out. The input's gradient is the same with the output's gradient read and transposed
 * weights; at stride s the pixels of the input fall into s*s phases, each with taps of its own.
 *
 * Weights' gradients are products over pixels. At stride 1, inputs and gradients lie in scratch alike, so that a tap is a distance
 * between the two: the inputs are turned once, channels apart and pixels side by side, and serve all taps. Zeros between rows
 * and images multiply to nothing. At other strides each tap's pixels are gathered first. Of views, whole rows of taps are.
 */
#include "lib/nn/conv/conv_tiles.h"

#include "lib/tensor/amx.h"

#define TAPS_MAX 49              /* taps are bits of a word */
#define SHORT_ROW 11             /* outputs of rows up to this are made pixel by pixel, of many images at once */
#define PIXEL_STEPS 12           /* of a weight gradient between two looks at the sums: what a block reads stays in L1 */
#define SUMS_BYTES (1 << 20)     /* sums that stay in L2 meanwhile */

/* The pixels under a row of taps of a view are a few numbers side by side: such a row is one tap with all of them as channels. */
static bool is_first(const struct node *in)
{
	return in->op == OP_VIEW;
}

static int taps_of(const struct node *x, const struct node *in)
{
	return is_first(in) ? x->k : x->k * x->k;
}

static int channels_of(const struct node *x, const struct node *in)
{
	return is_first(in) ? x->k * in->c : in->c;
}

static const struct amx *amx(const struct task *t)
{
	return t->net->backend[BF16]->amx;
}

static void *room_of(const struct task *t)
{
	return t->p->rooms[BF16][t->thread];
}

/* Inputs and gradients lie alike. */
static bool is_same(const struct node *x, const struct node *in)
{
	return x->stride == 1 && !is_first(in);
}

bool conv_tiled(const struct net *net, const struct node *x, const struct node *in)
{
	bool same = x->h == in->h && x->w == in->w && x->k % 2 == 1 && x->pad == x->k / 2;

	if (!amx_of(net) || x->op != OP_CONV || x->factor != BF16 || taps_of(x, in) > TAPS_MAX)
		return false;
	return is_first(in) || ((x->k == 1 || in->c >= 16) && (x->stride > 1 || same));
}

/* --- weights: (taps, in, out) as packed right factors; of each column panel its taps one after another --- */

size_t conv_tiles_weights(const struct node *x, const struct node *in, bool turned)
{
	if (turned)
		return is_first(in) ? 0 : taps_of(x, in) * amx_packed(x->c, in->c);
	return taps_of(x, in) * amx_packed(channels_of(x, in), x->c);
}

void conv_tiles_pack(const struct task *t, const struct node *x, const struct node *in, bool turned, char *to)
{
	int channels = channels_of(x, in), taps = taps_of(x, in);
	int k = turned ? x->c : channels, n = turned ? channels : x->c, columns = amx_panels(n);
	int64_t tap = (int64_t)amx_steps(k) * AMX_STEP_BYTES;

	for (int i = t->thread; i < taps * columns; i += t->p->threads) {
		struct amx_source s = { t->params + x->weight + (int64_t)(i / columns) * channels * x->c, F32, x->c, turned };
		int column = i % columns;

		amx(t)->pack(to + ((int64_t)column * taps + i / columns) * tap, 0, &s, k, n, column, column + 1);
	}
}

/* --- sweeps: pixels of a result, each a sum over taps of pixels of a source --- */

struct tap {
	int weight;              /* its number among the weights */
	int y, x;                /* of the source's pixel, from the first one's */
};

/* Result pixels (py + every*j, px + every*i) read source pixels (by*j + tap.y, by*i + tap.x). */
struct phase {
	int py, px, every, by, count;
	struct tap tap[TAPS_MAX];
};

static struct phase forward_phase(const struct node *x, const struct node *in)
{
	struct phase p = { .every = 1, .by = x->stride, .count = taps_of(x, in) };
	int columns = p.count / x->k;

	for (int i = 0; i < p.count; i++)
		p.tap[i] = (struct tap){ i, i / columns - x->pad, i % columns - x->pad };
	return p;
}

static struct phase backward_phase(const struct node *x, int py, int px)
{
	struct phase p = { .py = py, .px = px, .every = x->stride, .by = 1 };

	for (int i = 0; i < x->k * x->k; i++) {
		int y = py + x->pad - i / x->k, at = px + x->pad - i % x->k;

		if (y % x->stride == 0 && at % x->stride == 0)
			p.tap[p.count++] = (struct tap){ i, y / x->stride, at / x->stride };
	}
	return p;
}

struct sweep {
	const struct amx *amx;
	void *room;              /* its, of this thread */
	struct tile from;        /* the source */
	bool bordered;           /* taps left and right of an image read zeros and are not left out */
	int h, w, channels;      /* of it */
	const char *weights;
	int taps;                /* in the weights */
	char *to;                /* the first image of the result */
	enum dtype result;
	bool add;
	int to_h, to_w, columns, ld;   /* of the result */
	int images, y0, y1;      /* rows of the result to be made */
};

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

static bool by_images(const struct sweep *s)
{
	return s->to_w <= SHORT_ROW && s->images > 1;
}

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
	size_t spots = by_images(s) ? (size_t)((s->images + 15) / 16) * s->to_h * s->to_w
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
				.result = s->result, .add = s->add, .to_row = p->every * pixel, .panel = l->panel, .group = l->group };

	if (!l->spots)
		return;
	if (by_images(s)) {
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

static void sweep(const struct sweep *s, const struct phase *p)
{
	struct lists l = lists_for(s, p);

	if (by_images(s))
		sweep_images(s, p, &l);
	else
		sweep_rows(s, p, &l);
}

/* Where pixels are rows of a product and nothing more, all of a chunk's are one row. */
static void flatten(struct sweep *s)
{
	s->to_w = s->w = s->images * (s->y1 - s->y0) * s->to_w;
	s->images = s->to_h = s->h = s->y1 = 1;
	s->y0 = 0;
}

/* --- chunks --- */

static bool is_plain(const struct node *x, const struct node *in)
{
	return x->k == 1 && is_same(x, in);
}

/* Output pixels of a chunk: about what L2 holds, but not few for large weights, which are fetched for every chunk. */
static int chunk_target(const struct node *x, const struct node *in, bool grad)
{
	int64_t size = 2 * (in->ld + x->ld), image = (int64_t)x->h * x->w;
	int64_t target = MAX(MAX(64, MIN(1024, CHUNK_BYTES / size)), MIN(4096, x->weights * 2 / size));

	if (x->w <= SHORT_ROW && !is_plain(x, in))
		target = MAX(16, target / image / 16 * 16) * image;
	if (grad && x->stride > 1 && !is_first(in))
		target = MAX(target, image);
	return (int)target;
}

/* A chunk's arrays. At stride 1 a row of zeros ends where the next begins: a border serves two rows, and two images. */
struct plan {
	int target, border;      /* border: pixels, and rows, of zeros at stride 1 */
	int in_w, back_w, back_left;   /* of the tiles */
	int64_t in_pixels, back_pixels;
	size_t in, back;         /* bytes */
};

static struct plan plan_tiles(const struct node *x, const struct node *in, bool grad)
{
	struct plan p = { .target = chunk_target(x, in, grad), .border = is_same(x, in) ? x->pad : 0 };
	int64_t image = (int64_t)x->h * x->w, images = MAX(1, p.target / image), bands = (image + p.target - 1) / p.target;
	int64_t band = (x->h + bands - 1) / bands;
	int reach = x->k - 1 - x->pad, right = (in->w - 1 + x->pad) / x->stride - (x->w - 1);

	p.in_w = is_same(x, in) ? in->w + x->pad : tile_width(x, in);
	p.back_left = (reach + x->stride - 1) / x->stride;
	p.back_w = is_same(x, in) ? p.in_w : p.back_left + x->w + MAX(0, right);
	p.in_pixels = (MAX(images * (in->h + p.border), (band - 1) * x->stride + x->k) + p.border) * p.in_w + p.border;
	p.back_pixels = (MAX(images * (x->h + p.border), band + x->k) + p.border) * p.back_w + p.border;
	p.in = padded(p.in_pixels * in->ld * 2 + 64);
	p.back = grad ? padded(p.back_pixels * x->ld * 2 + 64) : 0;
	return p;
}

size_t conv_tiles_scratch(const struct node *x, const struct node *in, bool grad)
{
	struct plan p = plan_tiles(x, in, grad);

	return p.in + p.back;
}

/* --- tiles --- */

/* Rows of the value of the input, or of the gradient of the output, of images from n on. */
static void read_rows(const struct task *t, bool back, int n, int images, int y0, int y1, void *to, int pitch)
{
	if (back)
		read_gradient(t, n, images, y0, y1, to, BF16, pitch);
	else
		read_value(t, t->x->in[0], t->x->gate, n, images, y0, y1, to, BF16, pitch);
}

/* Zeros left of every row, in rows outside of the images, and behind the last row. */
static void clear_borders(const struct tile *tile, const struct chunk *c, int h, int border, int rows)
{
	size_t pixel = (size_t)tile->ld * 2;
	char *at = tile->base;

	for (int r = 0; r < rows; r++, at += tile->w * pixel) {
		int y = r % tile->rows + tile->top;
		bool within = y >= 0 && y < h && r / tile->rows < c->images;

		memset(at, 0, (within ? border : tile->w) * pixel);
	}
	memset(at, 0, border * pixel);
}

/* Stride 1: the chunk's rows and border rows above and below. Where the array lies so in memory it is used in place. */
static struct tile same_tile(const struct task *t, const struct chunk *c, const struct plan *p, bool back, char *base)
{
	const struct node *x = back ? t->x : t->in;
	bool whole = c->y1 - c->y0 == x->h;
	struct tile tile = { base, BF16, c->images, c->y1 - c->y0 + (whole ? 1 : 2) * p->border, c->y0 - p->border, p->border, p->in_w,
			     x->ld };
	int ya = MAX(0, tile.top), yb = MIN(x->h, c->y1 + p->border);

	if (!p->border && back && gradient_is_stored(x, BF16))
		tile.base = d_at(t, t->id, c->n, c->y0);
	else if (!p->border && !back && value_is_raw(x, t->x->gate, BF16))
		tile.base = raw_at(t, t->x->in[0], c->n, c->y0);
	else if (!p->border)
		read_rows(t, back, c->n, c->images, c->y0, c->y1, base, tile.w);
	else
		for (int i = 0; i < c->images; i++)
			read_rows(t, back, c->n + i, 1, ya, yb, tile_at(&tile, i, ya, 0), tile.w);
	if (p->border)
		clear_borders(&tile, c, x->h, p->border, c->images * tile.rows + (whole ? p->border : 0));
	return tile;
}

/* Steps have pairs of channels: behind an odd number of few ones there has to be a zero. Nobody else reads there. */
static void even_out(const struct tile *tile, int channels)
{
	uint16_t *at = (uint16_t *)tile->base + channels;
	int64_t pixels = (int64_t)tile->images * tile->rows * tile->w;

	for (int64_t i = 0; i < pixels && channels % 2 && channels < AMX_DEPTH; i++, at += tile->ld)
		*at = 0;
}

static struct tile in_tile(const struct task *t, const struct chunk *c, const struct plan *p)
{
	struct tile tile;

	if (is_same(t->x, t->in)) {
		tile = same_tile(t, c, p, false, t->scratch);
		even_out(&tile, t->in->c);
		return tile;
	}
	tile = tile_values(t, c, t->scratch, BF16);
	if (!is_first(t->in))
		even_out(&tile, t->in->c);
	tile_clear(&tile, (int64_t)tile.images * tile.rows, t->in->w);
	memset(tile_at(&tile, tile.images, tile.top, -tile.left), 0, 64);   /* a step may read one number too many */
	return tile;
}

static struct tile back_rows(const struct task *t, const struct chunk *c, const struct plan *p)
{
	const struct node *x = t->x;
	struct tile tile = { t->scratch + p->in, BF16, c->images, x->h, 0, p->back_left, p->back_w, x->ld };

	if (is_same(x, t->in))
		return same_tile(t, c, p, true, t->scratch + p->in);
	if (is_first(t->in)) {
		tile = (struct tile){ tile.base, BF16, c->images, c->y1 - c->y0, c->y0, 0, x->w, x->ld };
		if (gradient_is_stored(x, BF16))
			tile.base = d_at(t, t->id, c->n, c->y0);
		else
			read_gradient(t, c->n, c->images, c->y0, c->y1, tile.base, BF16, x->w);
		return tile;
	}
	tile_clear(&tile, (int64_t)c->images * x->h, x->w);
	read_gradient(t, c->n, c->images, 0, x->h, tile_at(&tile, 0, 0, 0), BF16, tile.w);
	return tile;
}

static struct tile back_tile(const struct task *t, const struct chunk *c, const struct plan *p)
{
	struct tile tile = back_rows(t, c, p);

	even_out(&tile, t->x->c);
	return tile;
}

/* --- forward --- */

static struct sweep forward_sweep(const struct task *t, const struct chunk *c, const struct tile *from)
{
	const struct node *x = t->x, *in = t->in;
	struct sweep s = { .amx = amx(t), .room = room_of(t), .from = *from, .h = in->h, .w = in->w, .channels = channels_of(x, in),
			   .weights = t->p->state[t->id].weight, .taps = taps_of(x, in), .to = raw_at(t, t->id, c->n, 0),
			   .result = x->store, .to_h = x->h, .to_w = x->w, .columns = x->c, .ld = x->ld, .images = c->images, .y0 = c->y0,
			   .y1 = c->y1 };

	s.bordered = is_first(in) || !by_images(&s);
	if (is_plain(x, in)) {
		s.to = raw_at(t, t->id, c->n, c->y0);
		s.from.top = 0;
		flatten(&s);
	}
	return s;
}

void conv_tiles_forward(struct task *t)
{
	const struct node *x = t->x;
	struct plan p = plan_tiles(x, t->in, false);
	struct phase phase = forward_phase(x, t->in);

	for (struct chunk c = chunks(t, x->h, x->w, p.target); chunk_next(&c);) {
		struct tile in = in_tile(t, &c, &p);
		struct sweep s = forward_sweep(t, &c, &in);

		sweep(&s, &phase);
		put(t, c.n, c.y0, NULL, (int64_t)c.images * (c.y1 - c.y0) * x->w);
	}
}

/* --- backward --- */

/* What is added to the weights' gradient: for each tap inputs times gradients, summed over pixels. */
struct outer {
	const char *left;        /* (channels, pixels) */
	int64_t pitch;           /* bytes between channels */
	const char *right;       /* packed gradients */
	int pixels, taps, channels;
	const int64_t *at;       /* of each tap: its first pixel */
	float *to;               /* (taps, channels, columns) */
};

/* rows channels from first on, and full as many panels behind each other. */
static void outer_rows(const struct task *t, const struct outer *o, int first, int rows, int full, struct amx_panel *panel,
		       const int32_t *at)
{
	int steps = amx_steps(o->pixels), channels = o->channels, columns = t->x->c;
	bool large = (int64_t)o->taps * channels * columns * 4 > SUMS_BYTES;
	struct amx_group g = { 0 };
	struct amx_work w = { .rows = rows, .depth = amx_depth(o->pixels), .left_row = o->pitch, .right = o->right,
				.right_panel = (int64_t)steps * AMX_STEP_BYTES, .columns = columns, .result = F32, .add = true,
				.to_row = (int64_t)columns * 4, .panel = panel, .group = &g, .groups = 1 };

	for (int i = 0; i < full; i++)
		for (int tap = 0; tap < o->taps; tap++) {
			int64_t channel = first + i * 16;

			panel[g.count++] = (struct amx_panel){ o->left + channel * o->pitch + o->at[tap] * 2,
							     (char *)(o->to + (tap * channels + channel) * columns) };
		}
	for (int step = 0, n; step < steps && g.count; step += n) {
		n = large ? steps : MIN(PIXEL_STEPS, steps - step);
		g.steps = n;
		g.left = at + step;
		g.right = at + steps + step;
		amx(t)->run(&w);
	}
}

static void outer_product(const struct task *t, const struct outer *o)
{
	int steps = amx_steps(o->pixels), channels = o->channels, panels = amx_panels(channels);
	size_t rows = (size_t)panels * o->taps * sizeof(struct amx_panel);
	char *room = amx(t)->lend(room_of(t), AMX_LISTS, rows + 2 * steps * sizeof(int32_t));
	int32_t *at = (int32_t *)(room + rows);

	for (int i = 0; i < steps; i++) {
		at[i] = 2 * amx_start(o->pixels, i);
		at[steps + i] = i * AMX_STEP_BYTES;
	}
	outer_rows(t, o, 0, 16, channels / 16, (struct amx_panel *)room, at);
	outer_rows(t, o, channels / 16 * 16, channels % 16, channels % 16 > 0, (struct amx_panel *)room, at);
}

/* Room for channels rows of pixels, pitch bytes apart: no power of two, or the rows of a panel would meet in the cache. */
static char *turned_room(const struct task *t, int channels, int pixels, int64_t *pitch)
{
	*pitch = (int64_t)amx_steps(pixels) * 64 + 64;
	return amx(t)->lend(room_of(t), AMX_LEFT, (size_t)*pitch * channels + 64);
}

static char *turn(const struct task *t, const void *from, int pixels, int64_t *pitch)
{
	char *to = turned_room(t, t->in->c, pixels, pitch);

	amx(t)->transpose(to, *pitch, from, t->in->ld, t->in->c, pixels);
	return to;
}

static char *pack_gradients(const struct task *t, const void *from, int pixels)
{
	const struct node *x = t->x;
	struct amx_source s = { from, BF16, x->ld, false };
	char *to = amx(t)->lend(room_of(t), AMX_RIGHT, amx_packed(pixels, x->c));

	amx(t)->pack(to, (int64_t)amx_steps(pixels) * AMX_STEP_BYTES, &s, pixels, x->c, 0, amx_panels(x->c));
	return to;
}

/* Both tiles alike: from the first pixel of the chunk to its last. */
static void weights_same(const struct task *t, const struct chunk *c, const struct tile *in, const struct tile *back)
{
	const struct node *x = t->x;
	int64_t first = (int64_t)in->left * in->w + in->left, at[TAPS_MAX];
	int64_t pixels = ((int64_t)(c->images - 1) * in->rows + c->y1 - c->y0 - 1) * in->w + x->w;
	struct outer o = { .pixels = (int)pixels, .taps = x->k * x->k, .channels = t->in->c, .at = at, .to = t->weight_grad };

	for (int i = 0; i < o.taps; i++)
		at[i] = first + (i / x->k - x->pad) * in->w + i % x->k - x->pad;
	o.left = turn(t, in->base, (int)(2 * first + pixels), &o.pitch);
	o.right = pack_gradients(t, back->base + first * x->ld * 2, o.pixels);
	outer_product(t, &o);
}

/* The input pixels of one tap, side by side. */
static void gather_tap(const struct task *t, const struct chunk *c, const struct tile *in, int ky, int kx, char *to)
{
	const struct node *x = t->x;
	size_t pixel = (size_t)in->ld * 2;

	for (int i = 0; i < c->images; i++)
		for (int y = c->y0; y < c->y1; y++) {
			int row = y * x->stride - x->pad + ky;

			for (int o = 0; o < x->w; o++, to += pixel)
				if (row < 0 || row >= t->in->h)
					memset(to, 0, pixel);
				else
					memcpy(to, tile_at(in, i, row, o * x->stride - x->pad + kx), pixel);
		}
}

static void gather_rows(const struct task *t, const struct chunk *c, const struct tile *back, char *to)
{
	size_t row = (size_t)t->x->w * t->x->ld * 2;

	for (int i = 0; i < c->images; i++)
		for (int y = c->y0; y < c->y1; y++, to += row)
			memcpy(to, tile_at(back, i, y, 0), row);
}

static void weights_strided(const struct task *t, const struct chunk *c, const struct tile *in, const struct tile *back)
{
	const struct node *x = t->x;
	int64_t zero = 0;
	struct outer o = { .pixels = c->images * (c->y1 - c->y0) * x->w, .taps = 1, .channels = t->in->c, .at = &zero,
			   .to = t->weight_grad };
	char *room = amx(t)->lend(room_of(t), AMX_GATHERED, (size_t)o.pixels * MAX(x->ld, in->ld) * 2);

	gather_rows(t, c, back, room);
	o.right = pack_gradients(t, room, o.pixels);
	for (int i = 0; i < x->k * x->k; i++, o.to += (int64_t)t->in->c * x->c) {
		gather_tap(t, c, in, i / x->k, i % x->k, room);
		o.left = turn(t, room, o.pixels, &o.pitch);
		outer_product(t, &o);
	}
}

/* The numbers under row of taps ky, each pixel's turned: what lies outside is zero. */
static void turn_view(const struct task *t, const struct chunk *c, const struct tile *in, int ky, char *to, int64_t pitch)
{
	const struct node *x = t->x;
	int channels = channels_of(x, t->in);

	for (int i = 0; i < c->images; i++)
		for (int y = c->y0; y < c->y1; y++, to += x->w * 2) {
			int row = y * x->stride - x->pad + ky;

			if (row >= 0 && row < t->in->h)
				amx(t)->transpose(to, pitch, tile_at(in, i, row, -x->pad), (int64_t)x->stride * in->ld, channels, x->w);
			for (int k = 0; k < channels && (row < 0 || row >= t->in->h); k++)
				memset(to + k * pitch, 0, x->w * 2);
		}
}

static void weights_first(const struct task *t, const struct chunk *c, const struct tile *in, const struct tile *back)
{
	const struct node *x = t->x;
	int64_t zero = 0;
	struct outer o = { .pixels = c->images * (c->y1 - c->y0) * x->w, .taps = 1, .channels = channels_of(x, t->in), .at = &zero,
			   .to = t->weight_grad };
	char *turned = turned_room(t, o.channels, o.pixels, &o.pitch);

	o.left = turned;
	o.right = pack_gradients(t, back->base, o.pixels);
	for (int ky = 0; ky < x->k; ky++, o.to += (int64_t)o.channels * x->c) {
		turn_view(t, c, in, ky, turned, o.pitch);
		outer_product(t, &o);
	}
}

/* The input's gradient is stored where it belongs. */
static void input_gradient(const struct task *t, const struct chunk *c, const struct tile *back)
{
	const struct node *x = t->x, *in = t->in;
	int y0 = x->stride == 1 ? c->y0 : 0, y1 = x->stride == 1 ? c->y1 : in->h;
	struct sweep s = { .amx = amx(t), .room = room_of(t), .from = *back, .h = x->h, .w = x->w, .channels = x->c,
			   .weights = t->p->state[t->id].turned, .taps = x->k * x->k, .to = d_at(t, x->in[0], c->n, 0),
			   .result = in->store, .add = !x->first[0], .to_h = in->h, .to_w = in->w, .columns = in->c, .ld = in->ld,
			   .images = c->images, .y0 = y0, .y1 = y1 };

	s.bordered = !by_images(&s);
	if (is_plain(x, in)) {
		s.to = d_at(t, x->in[0], c->n, c->y0);
		s.from.top = 0;
		flatten(&s);
	}
	for (int i = 0; i < x->stride * x->stride; i++) {
		struct phase phase = backward_phase(x, i / x->stride, i % x->stride);

		sweep(&s, &phase);
	}
	give(t, 0, c->n, c->images, y0, y1, NULL);
}

void conv_tiles_backward(struct task *t)
{
	const struct node *x = t->x;
	struct plan p = plan_tiles(x, t->in, true);

	for (struct chunk c = chunks(t, x->h, x->w, p.target); chunk_next(&c);) {
		struct tile in = in_tile(t, &c, &p), back = back_tile(t, &c, &p);

		add_bias(t, back.base, BF16, (int64_t)back.images * back.rows * back.w);
		if (is_first(t->in)) {
			weights_first(t, &c, &in, &back);
			continue;
		}
		if (is_same(x, t->in))
			weights_same(t, &c, &in, &back);
		else
			weights_strided(t, &c, &in, &back);
		input_gradient(t, &c, &back);
	}
}
