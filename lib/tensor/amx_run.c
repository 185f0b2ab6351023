/* amx_run.c - row panels by column panels, and how the sums are saved */
#include "lib/tensor/amx.h"

#ifdef ISA_X86
#include <immintrin.h>

/* --- multiplying: registers 0 to 3 are sums, 4 and 5 left, 6 and 7 right --- */

struct config {
	uint8_t palette, start, reserved[14];
	uint16_t bytes[16];
	uint8_t rows[16];
};

static void configure(int rows, int depth)
{
	struct config c = { .palette = 1 };

	for (int i = 0; i < 8; i++) {
		c.bytes[i] = i == 4 || i == 5 ? depth * 2 : 64;
		c.rows[i] = i < 6 ? rows : depth / 2;
	}
	_tile_loadconfig(&c);
}

/*
 * Sums of bf16 results leave through a stage. A block of 2 x 2 registers does not wait for them: its rows are saved while the
 * next such block is multiplied, a few after each step, so that neither the multiplier nor the stores stand still.
 */
struct stage {
	float sums[2][4][16][16] __attribute__((aligned(64)));   /* two blocks' in turn; rows of a register side by side */
	int turn;
	/* what waits in sums[!turn]: rows of two row panels, 32 columns */
	char *to[2];
	int64_t pitch;
	int rows, waiting, saved;
	bool add;
};

/* Up to four registers of sums: 2 x 2, or one row of them. */
struct block {
	const struct amx_work *w;
	const struct amx_group *g;
	const struct amx_panel *panel;   /* the first one; the second follows it */
	int column;              /* the first column panel */
	struct stage *stage;
};

INLINE bool direct(const struct amx_work *w, int column)
{
	return w->result == F32 && 16 * (column + 1) <= w->columns;
}

/* --- what the sums become --- */

INLINE __mmask16 first_16(int n)
{
	return n >= 16 ? 0xffff : n > 0 ? (1u << n) - 1 : 0;
}

INLINE __m512 widen(__m256i h)
{
	return (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16);
}

/* A row of 16 columns. */
INLINE void save_narrow(uint16_t *to, const float *from, __mmask16 mask, bool add)
{
	__m512 v = _mm512_load_ps(from);

	if (add)
		v = _mm512_add_ps(v, widen(_mm256_maskz_loadu_epi16(mask, to)));
	_mm256_mask_storeu_epi16(to, mask, (__m256i)_mm512_cvtneps_pbh(v));
}

INLINE void save_wide(float *to, const float *from, __mmask16 mask, bool add)
{
	__m512 v = _mm512_load_ps(from);

	if (add)
		v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, to));
	_mm512_mask_storeu_ps(to, mask, v);
}

/* A row of 32 columns: one cache line where the result is aligned. */
INLINE void save_pair(char *to, const float *from, const float *beside, bool add)
{
	__m512 low = _mm512_load_ps(from), high = _mm512_load_ps(beside);

	if (add) {
		low = _mm512_add_ps(low, widen(_mm256_loadu_si256((const __m256i *)to)));
		high = _mm512_add_ps(high, widen(_mm256_loadu_si256((const __m256i *)(to + 32))));
	}
	_mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

/* Of the rows that wait, those up to end. */
INLINE void save_waiting(struct stage *s, int end, bool add)
{
	float (*sums)[16][16] = s->sums[!s->turn];

	for (int i = s->saved; i < end; i++) {
		int second = i >= s->rows, row = i - second * s->rows;

		save_pair(s->to[second] + row * s->pitch, sums[2 * second][row], sums[2 * second + 1][row], add);
	}
	s->saved = MAX(s->saved, end);
}

static void save_rest(struct stage *s)
{
	if (s->add)
		save_waiting(s, s->waiting, true);
	else
		save_waiting(s, s->waiting, false);
	s->waiting = s->saved = 0;
}

/* The staged sums of a block of rows x columns registers, one after another. */
static void save(const struct block *b, int rows, int columns)
{
	const struct amx_work *w = b->w;
	float (*sums)[16][16] = b->stage->sums[b->stage->turn];

	for (int t = 0; t < rows * columns; t++) {
		int column = b->column + t % columns;
		__mmask16 mask = first_16(w->columns - 16 * column);
		char *to = b->panel[t / columns].to + (int64_t)16 * column * element_size(w->result);

		if (direct(w, column))
			continue;
		for (int i = 0; i < w->rows; i++, to += w->to_row)
			if (w->result == BF16)
				save_narrow((uint16_t *)to, sums[t][i], mask, w->add);
			else
				save_wide((float *)to, sums[t][i], mask, w->add);
	}
}

/* The sums of a block of 2 x 2 registers of bf16 are left to the next one. */
static void save_later(const struct block *b)
{
	struct stage *s = b->stage;

	for (int i = 0; i < 2; i++)
		s->to[i] = b->panel[i].to + (int64_t)32 * b->column;
	s->pitch = b->w->to_row;
	s->rows = b->w->rows;
	s->waiting = 2 * b->w->rows;
	s->add = b->w->add;
	s->turn = !s->turn;
}

INLINE char *place(const struct block *b, int row, int column)
{
	return b->panel[row].to + (int64_t)16 * (b->column + column) * element_size(b->w->result);
}

/* Sum number t is of row panel r, column panel c of the block. */
#define BEGIN(t, r, c) do { \
	if (b->w->add && direct(b->w, b->column + (c))) \
		_tile_loadd(t, place(b, r, c), b->w->to_row); \
	else \
		_tile_zero(t); \
} while (0)

#define END(t, r, c) do { \
	if (direct(b->w, b->column + (c))) \
		_tile_stored(t, place(b, r, c), b->w->to_row); \
	else \
		_tile_stored(t, b->stage->sums[b->stage->turn][t], 64); \
} while (0)

INLINE void two_by_two(const struct block *b, bool add)
{
	const struct amx_group *g = b->g;
	struct stage *stage = b->stage;
	int each = (stage->waiting + MAX(1, g->steps) - 1) / MAX(1, g->steps);
	const char *l0 = b->panel[0].left, *l1 = b->panel[1].left, *r0 = b->w->right + b->column * b->w->right_panel;
	const char *r1 = r0 + b->w->right_panel;
	int64_t pitch = b->w->left_row;

	BEGIN(0, 0, 0);
	BEGIN(1, 0, 1);
	BEGIN(2, 1, 0);
	BEGIN(3, 1, 1);
	for (int i = 0; i < g->steps; i++) {
		int64_t l = g->left[i], r = g->right[i];

		_tile_loadd(4, l0 + l, pitch);
		_tile_loadd(6, r0 + r, 64);
		_tile_loadd(5, l1 + l, pitch);
		_tile_loadd(7, r1 + r, 64);
		_tile_dpbf16ps(0, 4, 6);
		save_waiting(stage, MIN(stage->waiting, stage->saved + each), add);
		_tile_dpbf16ps(2, 5, 6);
		_tile_dpbf16ps(1, 4, 7);
		_tile_dpbf16ps(3, 5, 7);
	}
	END(0, 0, 0);
	END(1, 0, 1);
	END(2, 1, 0);
	END(3, 1, 1);
}

INLINE void two_by_one(const struct block *b)
{
	const struct amx_group *g = b->g;
	const char *l0 = b->panel[0].left, *l1 = b->panel[1].left, *r0 = b->w->right + b->column * b->w->right_panel;
	int64_t pitch = b->w->left_row;

	BEGIN(0, 0, 0);
	BEGIN(1, 1, 0);
	for (int i = 0; i < g->steps; i++) {
		_tile_loadd(4, l0 + g->left[i], pitch);
		_tile_loadd(6, r0 + g->right[i], 64);
		_tile_loadd(5, l1 + g->left[i], pitch);
		_tile_dpbf16ps(0, 4, 6);
		_tile_dpbf16ps(1, 5, 6);
	}
	END(0, 0, 0);
	END(1, 1, 0);
}

/* One row panel by n column panels, n a constant: without a second row panel more columns keep the multiplier busy. */
INLINE void one_by(const struct block *b, int n)
{
	const struct amx_group *g = b->g;
	const char *l0 = b->panel[0].left, *right = b->w->right + b->column * b->w->right_panel;
	int64_t pitch = b->w->left_row, next = b->w->right_panel;

	BEGIN(0, 0, 0);
	if (n > 1)
		BEGIN(1, 0, 1);
	if (n > 2)
		BEGIN(2, 0, 2);
	if (n > 3)
		BEGIN(3, 0, 3);
	for (int i = 0; i < g->steps; i++) {
		const char *r = right + g->right[i];

		_tile_loadd(4, l0 + g->left[i], pitch);
		_tile_loadd(6, r, 64);
		_tile_dpbf16ps(0, 4, 6);
		if (n > 1) {
			_tile_loadd(7, r + next, 64);
			_tile_dpbf16ps(1, 4, 7);
		}
		if (n > 2) {
			_tile_loadd(6, r + 2 * next, 64);
			_tile_dpbf16ps(2, 4, 6);
		}
		if (n > 3) {
			_tile_loadd(7, r + 3 * next, 64);
			_tile_dpbf16ps(3, 4, 7);
		}
	}
	END(0, 0, 0);
	if (n > 1)
		END(1, 0, 1);
	if (n > 2)
		END(2, 0, 2);
	if (n > 3)
		END(3, 0, 3);
}

/* --- all of it --- */

#define RIGHT_BYTES (128 * 1024)   /* of the right factor, for which a pair of row panels is fetched once */
#define FEW_STEPS 4      /* too few to save another block's rows between them */

/* Two row panels by columns column panels, two at a time. */
static void run_pair(struct block b, int columns)
{
	for (int c = 0; c < columns; c += 2, b.column += 2) {
		if (columns - c == 1)
			two_by_one(&b);
		else if (b.stage->add)
			two_by_two(&b, true);
		else
			two_by_two(&b, false);
		save_rest(b.stage);
		if (columns - c > 1 && b.w->result == BF16 && 16 * (b.column + 2) <= b.w->columns)
			save_later(&b);
		else
			save(&b, 2, MIN(2, columns - c));
		if (b.g->steps < FEW_STEPS)
			save_rest(b.stage);
	}
}

static void run_single(struct block b, int columns)
{
	save_rest(b.stage);
	switch (columns) {
	case 1: one_by(&b, 1); break;
	case 2: one_by(&b, 2); break;
	case 3: one_by(&b, 3); break;
	default: one_by(&b, 4); break;
	}
	save(&b, 1, columns);
}

void amx_run(const struct amx_work *w)
{
	struct stage stage;
	int all = amx_panels(w->columns), steps = 1, together;

	for (int i = 0; i < w->groups; i++)
		steps = MAX(steps, w->group[i].steps);
	together = MAX(4, MIN(64, RIGHT_BYTES / AMX_STEP_BYTES / steps / 4 * 4));
	stage.turn = stage.waiting = stage.saved = 0;
	stage.add = false;
	configure(w->rows, w->depth);
	for (int column = 0; column < all; column += together)
		for (int i = 0; i < w->groups; i++) {
			const struct amx_group *g = &w->group[i];
			struct block b = { w, g, w->panel + g->first, column, &stage };
			int columns = MIN(together, all - column), n = g->count;

			for (; n > 1; n -= 2, b.panel += 2)
				run_pair(b, columns);
			for (int c = 0; n && c < columns; c += 4, b.column += 4)
				run_single(b, MIN(4, columns - c));
		}
	save_rest(&stage);
	_tile_release();
}
#endif
