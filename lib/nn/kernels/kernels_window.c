/* kernels_window.c - loops over windows of pixels: depthwise convolution, convolution of views, max-pooling */
#include "lib/nn/kernels/kernels_isa.h"

/* at outputs made at once: each weight is loaded once for all of them. */
INLINE void dw_block(const struct dw_rows *r, const float *in, float *out, const float *weight, int at)
{
	vector acc[8];
	int64_t step = (int64_t)r->in_step * r->ld, out_step = (int64_t)r->out_step * r->ld;

	for (int i = 0; i < at; i++)
		acc[i] = (vector){ 0 };
	for (int y = 0; y < r->kh; y++)
		for (int x = 0; x < r->kw; x++) {
			vector w = load_f32(weight + ((int64_t)y * r->weight_row + x) * r->ld);
			const float *p = in + ((int64_t)y * r->in_row + x) * r->ld;

#pragma GCC unroll 8
			for (int i = 0; i < at; i++)
				acc[i] += w * load_f32(p + i * step);
		}
	for (int i = 0; i < at; i++)
		save_f32(out + i * out_step, acc[i]);
}

void ISA(depthwise)(const struct dw_rows *r)
{
	int64_t step = (int64_t)r->in_step * r->ld, out_step = (int64_t)r->out_step * r->ld;

	for (int c = 0; c < r->ld; c += VECTOR) {
		const float *in = r->in + c, *w = r->weight + c;
		float *out = r->out + c;
		int n = r->count;

		for (; n >= 8; n -= 8, in += 8 * step, out += 8 * out_step)
			dw_block(r, in, out, w, 8);
		if (n & 4) {
			dw_block(r, in, out, w, 4);
			in += 4 * step, out += 4 * out_step;
		}
		if (n & 2) {
			dw_block(r, in, out, w, 2);
			in += 2 * step, out += 2 * out_step;
		}
		if (n & 1)
			dw_block(r, in, out, w, 1);
	}
}

/* The accumulators of a row of taps stay in registers while all pixels go by. */
INLINE void dw_weight_taps(const struct dw_rows *r, const float *in, const float *d, float *weight, int kw)
{
	vector acc[7];
	int64_t step = (int64_t)r->in_step * r->ld;

	for (int x = 0; x < kw; x++)
		acc[x] = load_f32(weight + (int64_t)x * r->ld);
	for (int y = 0; y < r->rows; y++) {
		const float *p = in + (int64_t)y * r->in_row * r->ld, *q = d + (int64_t)y * r->out_row * r->ld;

		for (int i = 0; i < r->count; i++, p += step, q += r->ld) {
			vector v = load_f32(q);

#pragma GCC unroll 7
			for (int x = 0; x < kw; x++)
				acc[x] += v * load_f32(p + (int64_t)x * r->ld);
		}
	}
	for (int x = 0; x < kw; x++)
		save_f32(weight + (int64_t)x * r->ld, acc[x]);
}

void ISA(depthwise_weight)(const struct dw_rows *r, float *weight)
{
	for (int c = 0; c < r->ld; c += VECTOR)
		switch (r->kw) {
		case 1: dw_weight_taps(r, r->in + c, r->out + c, weight + c, 1); break;
		case 2: dw_weight_taps(r, r->in + c, r->out + c, weight + c, 2); break;
		case 3: dw_weight_taps(r, r->in + c, r->out + c, weight + c, 3); break;
		case 4: dw_weight_taps(r, r->in + c, r->out + c, weight + c, 4); break;
		case 5: dw_weight_taps(r, r->in + c, r->out + c, weight + c, 5); break;
		case 6: dw_weight_taps(r, r->in + c, r->out + c, weight + c, 6); break;
		default: dw_weight_taps(r, r->in + c, r->out + c, weight + c, 7); break;
		}
}

/* n pixels, a vector of channels: a weight is loaded once for all of them. */
INLINE void stem_block(const struct stem_rows *r, const float *in, float *out, const float *weight, int n)
{
	vector acc[8];

	for (int i = 0; i < n; i++)
		acc[i] = splat(0);
	for (int y = 0; y < r->kh; y++, in += r->in_row)
		for (int k = 0; k < STEM_TAPS; k++, weight += r->ld) {
			vector w = load_f32(weight);

#pragma GCC unroll 8
			for (int i = 0; i < n; i++)
				acc[i] += w * in[i * r->step + k];
		}
	for (int i = 0; i < n; i++)
		save_f32(out + (int64_t)i * r->ld, acc[i]);
}

void ISA(stem)(const struct stem_rows *r, const float *weight)
{
	for (int c = 0; c < r->ld; c += VECTOR) {
		int i = 0;

		for (; i + 8 <= r->count; i += 8)
			stem_block(r, r->in + i * r->step, r->out + (int64_t)i * r->ld + c, weight + c, 8);
		for (; i < r->count; i++)
			stem_block(r, r->in + i * r->step, r->out + (int64_t)i * r->ld + c, weight + c, 1);
	}
}

/* A row of taps at a time: its sums stay in registers while the pixels go by. */
void ISA(stem_weight)(const struct stem_rows *r, float *weight)
{
	for (int y = 0; y < r->kh; y++, weight += STEM_TAPS * r->ld)
		for (int c = 0; c < r->ld; c += VECTOR) {
			const float *in = r->in + (int64_t)y * r->in_row, *d = r->out + c;
			vector acc[STEM_TAPS];

			for (int k = 0; k < STEM_TAPS; k++)
				acc[k] = load_f32(weight + k * r->ld + c);
			for (int i = 0; i < r->count; i++, in += r->step, d += r->ld)
#pragma GCC unroll 9
				for (int k = 0; k < STEM_TAPS; k++)
					acc[k] += load_f32(d) * in[k];
			for (int k = 0; k < STEM_TAPS; k++)
				save_f32(weight + k * r->ld + c, acc[k]);
		}
}

void ISA(max)(float *restrict dst, const float *const *tap, int taps, int ld)
{
	bool first = true;

	for (int t = 0; t < taps; t++) {
		const float *restrict p = tap[t];

		if (!p)
			continue;
		if (first)
			memcpy(dst, p, ld * sizeof(float));
		else
#pragma omp simd
			for (int c = 0; c < ld; c++)
				dst[c] = p[c] > dst[c] || p[c] != p[c] ? p[c] : dst[c];
		first = false;
	}
}

#define WIDTH 64   /* channels whose best taps are kept at once */

void ISA(max_back)(const float *d, const float *const *tap, float *const *to, int taps, int ld)
{
	for (int c = 0; c < ld; c += WIDTH) {
		int n = MIN(WIDTH, ld - c), at[WIDTH], first = 0;
		float best[WIDTH];

		while (!tap[first])
			first++;
		for (int i = 0; i < n; i++) {
			best[i] = tap[first][c + i];
			at[i] = first;
		}
		for (int t = first + 1; t < taps; t++) {
			const float *p = tap[t] ? tap[t] + c : best;

#pragma omp simd
			for (int i = 0; i < n; i++) {
				at[i] = p[i] > best[i] ? t : at[i];
				best[i] = p[i] > best[i] ? p[i] : best[i];
			}
		}
		for (int t = first; t < taps; t++) {
			if (!to[t])
				continue;
#pragma omp simd
			for (int i = 0; i < n; i++)
				to[t][c + i] += at[i] == t ? d[c + i] : 0;
		}
	}
}
