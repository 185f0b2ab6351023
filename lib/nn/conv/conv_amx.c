/* conv_amx.c - dense convolution and linear layers in bf16 by AMX, without patches (conv_amx.h) */
#include "lib/nn/conv/conv_amx.h"

static bool amx_choose(const struct plan *plan, void *room, struct node *x, const struct node *in)
{
	bool same = x->h == in->h && x->w == in->w && x->k % 2 == 1 && x->pad == x->k / 2;

	(void)room;
	if (!amx_of(plan) || x->factor != BF16 || taps_of(x, in) > TAPS_MAX)
		return false;
	return is_first(in) || ((x->k == 1 || in->c >= 16) && (x->stride > 1 || same));
}

/* --- weights: (taps, in, out) as packed right factors; of each column panel its taps one after another --- */

static size_t factor_bytes(const struct node *x, const struct node *in, enum factor which)
{
	if (which == FACTOR_BACKWARD)
		return is_first(in) ? 0 : taps_of(x, in) * amx_packed(x->c, in->c);
	return taps_of(x, in) * amx_packed(channels_of(x, in), x->c);
}

static void factor_make(const struct task *t, const struct node *x, const struct node *in, enum factor which, void *to)
{
	int channels = channels_of(x, in), taps = taps_of(x, in);
	bool transposed = which == FACTOR_BACKWARD;
	int k = transposed ? x->c : channels, n = transposed ? channels : x->c, columns = amx_panels(n);
	int64_t tap = (int64_t)amx_steps(k) * AMX_STEP_BYTES;

	for (int i = t->thread; i < taps * columns; i += t->p->threads) {
		struct amx_source s = { t->params + x->weight + (int64_t)(i / columns) * channels * x->c, F32, x->c, transposed };
		int column = i % columns;

		amx(t)->pack((char *)to + ((int64_t)column * taps + i / columns) * tap, 0, &s, k, n, column, column + 1);
	}
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
struct layout {
	int target, border;      /* border: pixels, and rows, of zeros at stride 1 */
	int in_w, back_w, back_left;   /* of the tiles */
	int64_t in_pixels, back_pixels;
	size_t in, back;         /* bytes */
};

static struct layout layout_of(const struct node *x, const struct node *in, bool grad)
{
	struct layout p = { .target = chunk_target(x, in, grad), .border = is_same(x, in) ? x->pad : 0 };
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

static size_t amx_scratch(const struct node *x, const struct node *in, bool grad)
{
	struct layout p = layout_of(x, in, grad);

	return p.in + p.back;
}

/* --- a chunk's inputs and gradients --- */

/* Rows of the value of the input, or of the gradient of the output, of images from n on. */
static void read_rows(const struct task *t, bool back, int n, int images, int y0, int y1, void *to, int pitch)
{
	if (back)
		gradient_read(t, n, images, y0, y1, to, BF16, pitch);
	else
		value_read(t, t->x->in[0], t->x->gate, n, images, y0, y1, to, BF16, pitch);
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
static struct tile same_tile(const struct task *t, const struct chunk *c, const struct layout *p, bool back, char *base)
{
	const struct node *x = back ? t->x : t->in;
	bool whole = c->y1 - c->y0 == x->h;
	struct tile tile = { base, BF16, c->images, c->y1 - c->y0 + (whole ? 1 : 2) * p->border, c->y0 - p->border, p->border,
			     p->in_w, x->ld };
	int ya = MAX(0, tile.top), yb = MIN(x->h, c->y1 + p->border);

	if (!p->border && back && gradient_is_stored(x, BF16))
		tile.base = gradient_at(t, t->id, c->n, c->y0);
	else if (!p->border && !back && value_is_raw(x, t->x->gate, BF16))
		tile.base = value_at(t, t->x->in[0], c->n, c->y0);
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

static struct tile in_tile(const struct task *t, const struct chunk *c, const struct layout *p)
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

static struct tile back_rows(const struct task *t, const struct chunk *c, const struct layout *p)
{
	const struct node *x = t->x;
	struct tile tile = { t->scratch + p->in, BF16, c->images, x->h, 0, p->back_left, p->back_w, x->ld };

	if (is_same(x, t->in))
		return same_tile(t, c, p, true, t->scratch + p->in);
	if (is_first(t->in)) {
		tile = (struct tile){ tile.base, BF16, c->images, c->y1 - c->y0, c->y0, 0, x->w, x->ld };
		if (gradient_is_stored(x, BF16))
			tile.base = gradient_at(t, t->id, c->n, c->y0);
		else
			gradient_read(t, c->n, c->images, c->y0, c->y1, tile.base, BF16, x->w);
		return tile;
	}
	tile_clear(&tile, (int64_t)c->images * x->h, x->w);
	gradient_read(t, c->n, c->images, 0, x->h, tile_at(&tile, 0, 0, 0), BF16, tile.w);
	return tile;
}

static struct tile back_tile(const struct task *t, const struct chunk *c, const struct layout *p)
{
	struct tile tile = back_rows(t, c, p);

	even_out(&tile, t->x->c);
	return tile;
}

/* --- forward --- */

static struct sweep forward_sweep(const struct task *t, const struct chunk *c, const struct tile *from)
{
	const struct node *x = t->x, *in = t->in;
	struct sweep s = { .amx = amx(t), .room = room_of(t), .from = *from, .h = in->h, .w = in->w,
			   .channels = channels_of(x, in), .weights = t->p->state[t->id].factor[FACTOR_FORWARD],
			   .taps = taps_of(x, in), .to = value_at(t, t->id, c->n, 0), .result = x->store, .to_h = x->h,
			   .to_w = x->w, .columns = x->c, .ld = x->ld, .images = c->images, .y0 = c->y0, .y1 = c->y1 };

	s.bordered = is_first(in) || !sweep_by_images(&s);
	if (is_plain(x, in)) {
		s.to = value_at(t, t->id, c->n, c->y0);
		s.from.top = 0;
		sweep_flatten(&s);
	}
	return s;
}

static void amx_forward(struct task *t)
{
	const struct node *x = t->x;
	struct layout p = layout_of(x, t->in, false);
	struct phase phase = sweep_forward(x, t->in);

	for (struct chunk c = chunk_over(t, x->h, x->w, p.target); chunk_next(&c);) {
		struct tile in = in_tile(t, &c, &p);
		struct sweep s = forward_sweep(t, &c, &in);

		sweep_run(&s, &phase);
		value_put(t, c.n, c.y0, NULL, (int64_t)c.images * (c.y1 - c.y0) * x->w);
	}
}

/* --- backward --- */

/* The input's gradient is stored where it belongs. */
static void input_gradient(const struct task *t, const struct chunk *c, const struct tile *back)
{
	const struct node *x = t->x, *in = t->in;
	int y0 = x->stride == 1 ? c->y0 : 0, y1 = x->stride == 1 ? c->y1 : in->h;
	struct sweep s = { .amx = amx(t), .room = room_of(t), .from = *back, .h = x->h, .w = x->w, .channels = x->c,
			   .weights = t->p->state[t->id].factor[FACTOR_BACKWARD], .taps = x->k * x->k,
			   .to = gradient_at(t, x->in[0], c->n, 0),
			   .result = in->store, .add = !x->first[0], .to_h = in->h, .to_w = in->w, .columns = in->c, .ld = in->ld,
			   .images = c->images, .y0 = y0, .y1 = y1 };

	s.bordered = !sweep_by_images(&s);
	if (is_plain(x, in)) {
		s.to = gradient_at(t, x->in[0], c->n, c->y0);
		s.from.top = 0;
		sweep_flatten(&s);
	}
	for (int i = 0; i < x->stride * x->stride; i++) {
		struct phase phase = sweep_backward(x, i / x->stride, i % x->stride);

		sweep_run(&s, &phase);
	}
	gradient_give(t, 0, c->n, c->images, y0, y1, NULL);
}

static void amx_backward(struct task *t)
{
	const struct node *x = t->x;
	struct layout p = layout_of(x, t->in, true);

	for (struct chunk c = chunk_over(t, x->h, x->w, p.target); chunk_next(&c);) {
		struct tile in = in_tile(t, &c, &p), back = back_tile(t, &c, &p);

		gradient_bias(t, back.base, BF16, (int64_t)back.images * back.rows * back.w);
		outer_add(t, &c, &in, &back);
		if (!is_first(t->in))
			input_gradient(t, &c, &back);
	}
}

const struct conv_method conv_amx = {
	{ "amx", "bf16 by AMX, without patches", NULL },
	amx_choose, amx_scratch, factor_bytes, factor_make, amx_forward, amx_backward
};
