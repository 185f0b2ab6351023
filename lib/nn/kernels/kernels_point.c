/* kernels_point.c - loops that touch every element once: read, store, gradient through batch norm, column sums */
#include "lib/nn/kernels/kernels_isa.h"

/*
 * Rows go four at a time, channels inside: per-channel vectors and column sums are loaded once for the four, and narrow arrays,
 * which have the most rows, need no loop of their own. CALL(row, rows) must inline a block of a constant number of rows. Of each
 * loop there is a copy for every activation; whatever else varies is a test inside, which costs little beside the memory and
 * keeps the copies few.
 */
#define BLOCK 4
#define BY_BLOCKS_IF(when, rows, CALL) do { \
	int64_t row_ = 0; \
	for (; (when) && row_ + BLOCK <= (rows); row_ += BLOCK) \
		CALL(row_, BLOCK); \
	for (; row_ < (rows); row_++) \
		CALL(row_, 1); \
} while (0)
#define BY_BLOCKS(rows, CALL) BY_BLOCKS_IF(true, rows, CALL)

/* Loops that fetch from memory go through long rows one by one: with four at a time the processor does not see a stream. */
#define LONG 128
#define BY_STREAM(rows, CALL) BY_BLOCKS_IF(ld < LONG, rows, CALL)

/* A loop over a block's channels, and one over its rows. */
#define EACH_VECTOR(c, ld) for (int c = 0; c < (ld); c += VECTOR)
#define EACH_ROW(r, rows) _Pragma("GCC unroll 4") for (int r = 0; r < (rows); r++)

#define AHEAD 512   /* elements, at least; rows of a block lie side by side, so that the next one begins BLOCK rows further on */

INLINE vector load_ahead(const stored *p, int ld)
{
	__builtin_prefetch(p + MAX(AHEAD, BLOCK * ld));
	return LOAD(p);
}

INLINE void bump(float *p, vector v)
{
	save_f32(p, load_f32(p) + v);
}

/* What the channels from c on are multiplied by, and what is added. */
struct line {
	vector scale, shift;
};

INLINE struct line line_at(const float *scale, const float *shift, int c)
{
	return scale ? (struct line){ load_f32(scale + c), load_f32(shift + c) } : (struct line){ splat(1), splat(0) };
}

/* --- reading forward --- */

INLINE void read_block(stored *dst, const stored *src, int ld, const struct affine *f, const float *gate, enum act act, int rows)
{
	EACH_VECTOR(c, ld) {
		struct line l = line_at(f->scale, f->shift, c);
		vector g = gate ? load_f32(gate + c) : splat(1);

		EACH_ROW(r, rows) {
			vector v = act_value(act, load_ahead(src + r * ld + c, ld) * l.scale + l.shift);

			SAVE(dst + r * ld + c, gate ? v * g : v);
		}
	}
}

void TYPED(read)(void *dst, const void *src, int64_t rows, int ld, const struct affine *f, const float *gate, enum act act)
{
	stored *to = dst;
	const stored *from = src;

#define READ(row, n) read_block(to + (row) * ld, from + (row) * ld, ld, f, gate, act_, n)
#define ONE(a) do { const enum act act_ = a; BY_STREAM(rows, READ); } while (0)
	FOR_ACT(act, ONE)
#undef ONE
#undef READ
}

INLINE void read_wide_block(float *dst, const stored *src, int ld, const struct affine *f, const float *gate, enum act act,
			    bool add, int rows)
{
	EACH_VECTOR(c, ld) {
		struct line l = line_at(f->scale, f->shift, c);
		vector g = gate ? load_f32(gate + c) : splat(1);

		EACH_ROW(r, rows) {
			vector v = act_value(act, load_ahead(src + r * ld + c, ld) * l.scale + l.shift);

			if (gate)
				v *= g;
			if (add)
				v += load_f32(dst + r * ld + c);
			save_f32(dst + r * ld + c, v);
		}
	}
}

void TYPED(read_wide)(float *dst, const void *src, int64_t rows, int ld, const struct affine *f, const float *gate, enum act act,
		      bool add)
{
	const stored *from = src;

#define READ(row, n) read_wide_block(dst + (row) * ld, from + (row) * ld, ld, f, gate, act_, add, n)
#define ONE(a) do { const enum act act_ = a; BY_STREAM(rows, READ); } while (0)
	FOR_ACT(act, ONE)
#undef ONE
#undef READ
}

typedef uint8_t bytes __attribute__((vector_size(VECTOR), may_alias, aligned(1)));

/* 48 values are 16 pixels: whole vectors and whole pixels. to: any alignment. */
INLINE void read_48(stored *to, const uint8_t *src, const float *s, const float *b)
{
	EACH_VECTOR(i, 48) {
		_Alignas(64) stored out[VECTOR];

		SAVE(out, __builtin_convertvector(*(const bytes *)(src + i), vector) * load_f32(s + i) + load_f32(b + i));
		memcpy(to + i, out, sizeof(out));
	}
}

void TYPED(read_view)(void *dst, const uint8_t *src, int64_t n, const float scale[3], const float shift[3])
{
	stored *to = dst, rest[48];
	_Alignas(64) float s[48], b[48];
	uint8_t last[48] = { 0 };

	for (int i = 0; i < 48; i++)
		s[i] = scale[i % 3], b[i] = shift[i % 3];
	for (n *= 3; n >= 48; n -= 48, to += 48, src += 48)
		read_48(to, src, s, b);
	memcpy(last, src, n);
	read_48(rest, last, s, b);
	memcpy(to, rest, n * sizeof(stored));
}

/* --- storing --- */

/* Of those that store, take sums, or both there is a copy each: src and sum are constant in it. */
INLINE void put_block(stored *dst, const float *src, int ld, const float *origin, float *sum, float *squares, bool past, int rows)
{
	EACH_VECTOR(c, ld) {
		vector s = splat(0), q = s, o = sum ? load_f32(origin + c) : s;

		EACH_ROW(r, rows) {
			stored *to = dst + r * ld + c;
			vector v = src ? KEEP(to, load_f32(src + r * ld + c), past) : LOAD(to);

			if (sum) {
				v -= o;
				s += v;
				q += v * v;
			}
		}
		if (sum) {
			bump(sum + c, s);
			bump(squares + c, q);
		}
	}
}

void TYPED(put)(void *dst, const float *src, int64_t rows, int ld, float *origin, float *sum, float *squares, bool past)
{
	stored *to = dst;

#define STORED(row, n) put_block(to + (row) * ld, src + (row) * ld, ld, NULL, NULL, NULL, past, n)
#define SUMMED(row, n) put_block(to + (row) * ld, NULL, ld, origin, sum, squares, false, n)
#define BOTH(row, n) put_block(to + (row) * ld, src + (row) * ld, ld, origin, sum, squares, past, n)
	if (!sum && src)
		BY_BLOCKS(rows, STORED);
	if (!sum)
		return;
	EACH_VECTOR(c, ld) {
		save_f32(origin + c, src ? KEEP(to + c, load_f32(src + c), false) : LOAD(to + c));
		save_f32(sum + c, splat(0));
		save_f32(squares + c, splat(0));
	}
	if (src)
		BY_BLOCKS(rows, BOTH);
	else
		BY_BLOCKS(rows, SUMMED);
#undef BOTH
#undef SUMMED
#undef STORED
}

void TYPED(narrow)(void *dst, const float *src, int64_t n)
{
	_Alignas(64) stored last[VECTOR];
	stored *to = dst;
	float rest[VECTOR] = { 0 };

	if (sizeof(stored) == sizeof(float)) {
		memcpy(dst, src, n * sizeof(float));
		return;
	}
	for (; n >= VECTOR; n -= VECTOR, src += VECTOR, to += VECTOR)
		SAVE(to, load_anywhere(src));
	memcpy(rest, src, n * sizeof(float));
	SAVE(last, load_anywhere(rest));
	memcpy(to, last, n * sizeof(stored));
}

/* --- column sums --- */

INLINE void pool_block(const stored *raw, int ld, const struct affine *f, enum act act, float *sum, float *slopes, float *dots,
		       int rows)
{
	EACH_VECTOR(c, ld) {
		struct line l = line_at(f->scale, f->shift, c), x = line_at(f->xscale, f->xshift, c);
		vector v = splat(0), s = v, q = v;

		EACH_ROW(r, rows) {
			vector raws = load_ahead(raw + r * ld + c, ld), z = raws * l.scale + l.shift;

			v += act_value(act, z);
			if (slopes) {
				vector slope = act_slope(act, z);

				s += slope;
				q += slope * (raws * x.scale + x.shift);
			}
		}
		bump(sum + c, v);
		if (slopes) {
			bump(slopes + c, s);
			bump(dots + c, q);
		}
	}
}

void TYPED(pool)(const void *raw, int64_t rows, int ld, const struct affine *f, enum act act, float *sum, float *slopes,
		 float *dots)
{
	const stored *from = raw;

#define POOL(row, n) pool_block(from + (row) * ld, ld, f, act_, sum, slopes, dots, n)
#define ONE(a) do { const enum act act_ = a; BY_BLOCKS(rows, POOL); } while (0)
	FOR_ACT(act, ONE)
#undef ONE
#undef POOL
}

/* --- reading backward --- */

/* to_stored: the type of dst. */
INLINE void save_as(void *dst, int64_t at, vector v, bool to_stored)
{
	if (to_stored)
		SAVE((stored *)dst + at, v);
	else
		save_f32((float *)dst + at, v);
}

INLINE void grad_block(void *dst, int64_t row, const stored *d, const stored *raw, int ld, const float *k, bool to_stored,
		       int rows)
{
	EACH_VECTOR(c, ld) {
		vector k0 = load_f32(k + c), k1 = load_f32(k + ld + c), k2 = load_f32(k + 2 * ld + c);

		EACH_ROW(r, rows)
			save_as(dst, (row + r) * ld + c, k0 * load_ahead(d + (row + r) * ld + c, ld) +
				(k1 * load_ahead(raw + (row + r) * ld + c, ld) + k2), to_stored);
	}
}

void TYPED(grad)(void *dst, const void *d, const void *raw, int64_t rows, int ld, const float *c)
{
#define CALL(row, n) grad_block(dst, row, d, raw, ld, c, true, n)
	BY_STREAM(rows, CALL);
#undef CALL
}

void TYPED(grad_wide)(float *dst, const void *d, const void *raw, int64_t rows, int ld, const float *c)
{
#define CALL(row, n) grad_block(dst, row, d, raw, ld, c, false, n)
	BY_STREAM(rows, CALL);
#undef CALL
}

INLINE void grad_pooled_block(void *dst, int64_t row, const stored *d, const stored *raw, int ld, const float *k,
			      const struct affine *f, enum act act, const float *gate, const float *pooled, bool to_stored,
			      int rows)
{
	EACH_VECTOR(c, ld) {
		struct line l = line_at(f->scale, f->shift, c);
		vector k0 = load_f32(k + c), k1 = load_f32(k + ld + c), k2 = load_f32(k + 2 * ld + c);
		vector mean = load_f32(pooled + c);

		EACH_ROW(r, rows) {
			int64_t at = (row + r) * ld + c;
			vector x = load_ahead(raw + at, ld), dz = mean * act_slope(act, x * l.scale + l.shift);

			if (d)
				dz += load_f32(gate + c) * LOAD(d + at);
			save_as(dst, at, k0 * dz + (k1 * x + k2), to_stored);
		}
	}
}

INLINE void grad_pooled_any(void *dst, const stored *d, const stored *raw, int64_t rows, int ld, const float *k,
			    const struct affine *f, enum act act, const float *gate, const float *pooled, bool to_stored)
{
#define CALL(row, n) grad_pooled_block(dst, row, d, raw, ld, k, f, act_, gate, pooled, to_stored, n)
#define ONE(a) do { const enum act act_ = a; BY_STREAM(rows, CALL); } while (0)
	FOR_ACT(act, ONE)
#undef ONE
#undef CALL
}

void TYPED(grad_pooled)(void *dst, const void *d, const void *raw, int64_t rows, int ld, const float *c, const struct affine *f,
			enum act act, const float *gate, const float *pooled)
{
	grad_pooled_any(dst, d, raw, rows, ld, c, f, act, gate, pooled, true);
}

void TYPED(grad_pooled_wide)(float *dst, const void *d, const void *raw, int64_t rows, int ld, const float *c,
			     const struct affine *f, enum act act, const float *gate, const float *pooled)
{
	grad_pooled_any(dst, d, raw, rows, ld, c, f, act, gate, pooled, false);
}

/* --- writing backward --- */

/* Without an activation, norm or gate raw is not looked at: it may be missing. */
INLINE void finish_block(stored *d, const float *part, bool add, const stored *raw, int ld, const struct affine *f, enum act act,
			 float *sum, float *dots, float *gates, bool past, int rows)
{
	EACH_VECTOR(c, ld) {
		struct line l = line_at(f->scale, f->shift, c), xhat = line_at(f->xscale, f->xshift, c);
		vector s = splat(0), q = s, g = s;

		EACH_ROW(r, rows) {
			int64_t at = (int64_t)r * ld + c;
			vector x = act != ACT_NONE || f->xscale ? load_ahead(raw + at, ld) : splat(0), z = x * l.scale + l.shift;
			vector v = part ? load_f32(part + at) : LOAD(d + at);

			if (add)
				v += LOAD(d + at);
			if (gates)
				g += v * act_value(act, z);
			if (act != ACT_NONE)
				v *= act_slope(act, z);
			if (act != ACT_NONE || part)
				KEEP(d + at, v, past);
			s += v;
			q += v * (x * xhat.scale + xhat.shift);
		}
		if (f->xscale) {
			bump(sum + c, s);
			bump(dots + c, q);
		}
		if (gates)
			bump(gates + c, g);
	}
}

void TYPED(finish)(void *d, const float *part, bool add, const void *raw, int64_t rows, int ld, const struct affine *f,
		   enum act act, float *sum, float *dots, float *gates, bool past)
{
	stored *to = d;
	const stored *from = raw;
	bool more = add && part;

#define FINISH(row, n) \
	finish_block(to + (row) * ld, part ? part + (row) * ld : NULL, more, from ? from + (row) * ld : NULL, ld, f, act_, \
		     sum, dots, gates, past, n)
#define ONE(a) do { const enum act act_ = a; BY_BLOCKS(rows, FINISH); } while (0)
	FOR_ACT(act, ONE)
#undef ONE
#undef FINISH
}
