/* conv_outer.c - gradients of weights by AMX: inputs times gradients, summed over pixels (conv_amx.h) */
#include "lib/nn/conv/conv_amx.h"

#define PIXEL_STEPS 12           /* between two looks at the sums: what a block reads stays in L1 */
#define SUMS_BYTES (1 << 20)     /* sums that stay in L2 meanwhile */

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
static char *transposed_room(const struct task *t, int channels, int pixels, int64_t *pitch)
{
	*pitch = (int64_t)amx_steps(pixels) * 64 + 64;
	return amx(t)->lend(room_of(t), AMX_LEFT, (size_t)*pitch * channels + 64);
}

static char *transposed(const struct task *t, const void *from, int pixels, int64_t *pitch)
{
	char *to = transposed_room(t, t->in->c, pixels, pitch);

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
	o.left = transposed(t, in->base, (int)(2 * first + pixels), &o.pitch);
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
		o.left = transposed(t, room, o.pixels, &o.pitch);
		outer_product(t, &o);
	}
}

/* The numbers under row of taps ky, each pixel's transposed: what lies outside is zero. */
static void transpose_view(const struct task *t, const struct chunk *c, const struct tile *in, int ky, char *to, int64_t pitch)
{
	const struct node *x = t->x;
	int channels = channels_of(x, t->in);

	for (int i = 0; i < c->images; i++)
		for (int y = c->y0; y < c->y1; y++, to += x->w * 2) {
			int row = y * x->stride - x->pad + ky;

			if (row >= 0 && row < t->in->h)
				amx(t)->transpose(to, pitch, tile_at(in, i, row, -x->pad), (int64_t)x->stride * in->ld, channels,
						  x->w);
			for (int k = 0; k < channels && (row < 0 || row >= t->in->h); k++)
				memset(to + k * pitch, 0, x->w * 2);
		}
}

static void weights_first(const struct task *t, const struct chunk *c, const struct tile *in, const struct tile *back)
{
	const struct node *x = t->x;
	int64_t zero = 0;
	struct outer o = { .pixels = c->images * (c->y1 - c->y0) * x->w, .taps = 1, .channels = channels_of(x, t->in),
			   .at = &zero, .to = t->weight_grad };
	char *room = transposed_room(t, o.channels, o.pixels, &o.pitch);

	o.left = room;
	o.right = pack_gradients(t, back->base, o.pixels);
	for (int ky = 0; ky < x->k; ky++, o.to += (int64_t)o.channels * x->c) {
		transpose_view(t, c, in, ky, room, o.pitch);
		outer_product(t, &o);
	}
}

void outer_add(const struct task *t, const struct chunk *c, const struct tile *in, const struct tile *back)
{
	if (is_first(t->in))
		weights_first(t, c, in, back);
	else if (is_same(t->x, t->in))
		weights_same(t, c, in, back);
	else
		weights_strided(t, c, in, back);
}
