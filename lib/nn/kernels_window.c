/* kernels_window.c - loops over windows of pixels: depthwise convolution and max-pooling */
#include "lib/nn/kernels_isa.h"

#define AT 8   /* outputs made at once: each weight is loaded once for all of them */

INLINE void dw_block(const struct dw_row *r, const float *in, float *out, const float *weight, int at)
{
	vector acc[AT];
	int64_t step = (int64_t)r->in_step * r->ld, out_step = (int64_t)r->out_step * r->ld;

	for (int i = 0; i < at; i++)
		acc[i] = r->add ? *(vector *)(out + i * out_step) : (vector){ 0 };
	for (int y = 0; y < r->kh; y++)
		for (int x = 0; x < r->kw; x++) {
			vector w = *(const vector *)(weight + (int64_t)(y * r->kw + x) * r->ld);
			const float *p = in + ((int64_t)y * r->in_row + x) * r->ld;

#pragma GCC unroll 8
			for (int i = 0; i < at; i++)
				acc[i] += w * *(const vector *)(p + i * step);
		}
	for (int i = 0; i < at; i++)
		*(vector *)(out + i * out_step) = acc[i];
}

void ISA(depthwise)(const struct dw_row *r)
{
	for (int c = 0; c < r->ld; c += VECTOR) {
		const float *in = r->in + c;
		float *out = r->out + c;
		int i = 0;

		for (; i + AT <= r->count; i += AT, in += (int64_t)AT * r->in_step * r->ld, out += (int64_t)AT * r->out_step * r->ld)
			dw_block(r, in, out, r->weight + c, AT);
		for (; i < r->count; i++, in += (int64_t)r->in_step * r->ld, out += (int64_t)r->out_step * r->ld)
			dw_block(r, in, out, r->weight + c, 1);
	}
}

/* One row of kw taps at a time: kw accumulators stay in registers while the pixels go by. */
INLINE void dw_weight_taps(const struct dw_row *r, const float *in, const float *d, float *weight, int kw)
{
	vector acc[7];
	int64_t step = (int64_t)r->in_step * r->ld;

	for (int x = 0; x < kw; x++)
		acc[x] = *(vector *)(weight + (int64_t)x * r->ld);
	for (int i = 0; i < r->count; i++, in += step, d += r->ld) {
		vector v = *(const vector *)d;

#pragma GCC unroll 7
		for (int x = 0; x < kw; x++)
			acc[x] += v * *(const vector *)(in + (int64_t)x * r->ld);
	}
	for (int x = 0; x < kw; x++)
		*(vector *)(weight + (int64_t)x * r->ld) = acc[x];
}

void ISA(depthwise_weight)(const struct dw_row *r, float *weight)
{
	for (int y = 0; y < r->kh; y++)
		for (int c = 0; c < r->ld; c += VECTOR) {
			const float *in = r->in + (int64_t)y * r->in_row * r->ld + c, *d = r->out + c;
			float *w = weight + (int64_t)y * r->kw * r->ld + c;

			switch (r->kw) {
			case 3: dw_weight_taps(r, in, d, w, 3); break;
			case 5: dw_weight_taps(r, in, d, w, 5); break;
			default: dw_weight_taps(r, in, d, w, r->kw); break;
			}
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

void ISA(max_back)(const float *d, const float *const *tap, float *const *to, int taps, int ld)
{
	for (int c = 0; c < ld; c++) {
		int best = -1;

		for (int t = 0; t < taps; t++)
			if (tap[t] && (best < 0 || tap[t][c] > tap[best][c]))
				best = t;
		to[best][c] += d[c];
	}
}
