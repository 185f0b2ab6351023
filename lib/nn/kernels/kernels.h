/*
 * kernels.h - the loops over activations that no library does well, compiled once for every instruction set
 *
 * An activation array is rows x ld elements, ld = channels rounded up to 16: rows start on cache lines and no loop has a
 * remainder. What lies in the padding is of no meaning to anybody; no kernel mixes channels. Per-channel vectors have ld floats.
 * The loops over rows (layernorm, softmax) do mix the elements of a row, but only the first of them that count.
 *
 * There is a table for each type of element that activations and their gradients are stored in: f32, or bf16 (the upper half of
 * an f32, rounded to nearest even; denormals may become zeros). All arithmetic is in f32.
 *
 *	const struct kernels *k = kernels_find(F32);   those of the level that isa() says (lib/base/isa.h)
 *	k->read(tile, raw, rows, ld, &affine, NULL, ACT_HARDSWISH);
 */
#ifndef NN_KERNELS_H
#define NN_KERNELS_H

#include "lib/nn/model/arch.h"
#include "lib/tensor/tensor.h"

#define LANES 16   /* channels are padded to a multiple of this */

/* z = raw*scale + shift feeds the activation; xhat = raw*xscale + xshift is the normalised value. NULL: z = raw; no xhat. */
struct affine {
	const float *scale, *shift, *xscale, *xshift;
};

/* Depthwise convolution of rows of pixels. Steps and rows count pixels of ld floats. */
struct dw_rows {
	float *out;              /* (rows, count) pixels, out_step apart, rows out_row apart */
	const float *in;         /* pixel under tap (0, 0) of the first output; in_step apart, rows of taps in_row apart */
	const float *weight;     /* (kh, kw) pixels, rows weight_row apart */
	int rows, count, out_step, out_row, in_step, in_row, weight_row, kh, kw, ld;
};

/* A row of a 3x3 convolution of pixels of 3 channels: kh rows of taps, each STEM_TAPS floats. */
#define STEM_SIDE 3
#define STEM_TAPS (3 * STEM_SIDE)
struct stem_rows {
	float *out;              /* count pixels of ld floats */
	const float *in;         /* under the first tap of the first pixel; the next's is step on, the next row's in_row */
	int count, step, in_row, kh, ld;
};

/* A step of sgd or lars over a stretch: d = trust * (scale*g + wd*w); v = momentum*v + d;
 * w -= lr * (nesterov ? d + momentum*v : v). */
struct sgd {
	float lr, scale, wd, trust, momentum;
	bool nesterov;
};

/* A step of adamw over a stretch: d = scale*g; m = beta1*m + rest1*d; v = beta2*v + rest2*d*d;
 * w -= wd*w + rate * m/(sqrt(v)*root + eps). */
struct adamw {
	float scale, beta1, rest1, beta2, rest2, wd, rate, root, eps;
};

/*
 * Every kernel, declared once: TYPED(type, name, arguments) is made for each type of element, and what is void in it is of
 * those; its "_wide" writes floats instead. FLAT(...) has floats only.
 */
#define KERNELS(TYPED, FLAT) \
	/* dst = act(z) * gate; gate (ld) or NULL. */ \
	TYPED(void, read, (void *dst, const void *src, int64_t rows, int ld, const struct affine *f, \
		const float *gate, enum act act)) \
	/* The same, or += when add. */ \
	TYPED(void, read_wide, (float *dst, const void *src, int64_t rows, int ld, const struct affine *f, \
		const float *gate, enum act act, bool add)) \
	/* u8 pixels to (x/255 - mean)/std given as scale and shift of each channel; n pixels of 3. */ \
	TYPED(void, read_view, (void *dst, const uint8_t *src, int64_t n, const float scale[3], const float shift[3])) \
	/* Stores floats (src NULL: dst has them already); where sum is not NULL, also column sums of x - origin and of its \
	 * square, x as stored, origin its first row, (ld) each: the origin keeps the variance exact. past: past the caches. */ \
	TYPED(void, put, (void *dst, const float *src, int64_t rows, int ld, float *origin, float *sum, \
		float *squares, bool past)) \
	/* dst = c[0]*d + c[1]*raw + c[2]: the gradient through batch norm; c is (3, ld). */ \
	TYPED(void, grad, (void *dst, const void *d, const void *raw, int64_t rows, int ld, const float *c)) \
	TYPED(void, grad_wide, (float *dst, const void *d, const void *raw, int64_t rows, int ld, const float *c)) \
	/* The same with d = gate*d + pooled*act'(z), where gate (NULL: 1), pooled (ld) and d (NULL: 0) are of one image. */ \
	TYPED(void, grad_pooled, (void *dst, const void *d, const void *raw, int64_t rows, int ld, const float *c, \
		const struct affine *f, enum act act, const float *gate, const float *pooled)) \
	TYPED(void, grad_pooled_wide, (float *dst, const void *d, const void *raw, int64_t rows, int ld, \
		const float *c, const struct affine *f, enum act act, const float *gate, const float *pooled)) \
	/* d = (part, d + part when add, d where part is NULL) * act'(z); where f has xhat, adds to the column sums of the new d \
	 * (sum) and of d*xhat (dots), and where gates is not NULL, of (d before act') * act(z). past: past the caches. */ \
	TYPED(void, finish, (void *d, const float *part, bool add, const void *raw, int64_t rows, int ld, \
		const struct affine *f, enum act act, float *sum, float *dots, float *gates, bool past)) \
	/* Column sums over one image of act(z), and where slopes is not NULL of act'(z) and act'(z)*xhat; (ld) each, added. */ \
	TYPED(void, pool, (const void *raw, int64_t rows, int ld, const struct affine *f, enum act act, float *sum, \
		float *slopes, float *dots)) \
	/* Every row less its mean, over its standard deviation, times gamma, plus beta, (c) each, any alignment. */ \
	TYPED(void, layernorm, (void *dst, const float *src, int64_t rows, int c, int ld, const float *gamma, \
		const float *beta, float eps)) \
	/* n floats to elements, any alignment. */ \
	TYPED(void, narrow, (void *dst, const float *src, int64_t n)) \
	/* --- what follows has floats only --- */ \
	/* dst = max over the k*k pixels at tap[] (NULL: outside), all of ld channels. */ \
	FLAT(void, max, (float *dst, const float *const *tap, int taps, int ld)) \
	/* The first tap that holds the maximum gets d added: to[t] beside tap[t]. */ \
	FLAT(void, max_back, (const float *d, const float *const *tap, float *const *to, int taps, int ld)) \
	/* One row of outputs; rows and out_row are not looked at. */ \
	FLAT(void, depthwise, (const struct dw_rows *r)) \
	/* Gradient of one row of kw weights, added to: the sum over all pixels of out (the gradient) times in. in's rows are \
	 * in_row apart from one output row to the next. */ \
	FLAT(void, depthwise_weight, (const struct dw_rows *r, float *weight)) \
	/* weight: (kh * STEM_TAPS, ld), from the first row of taps on. */ \
	FLAT(void, stem, (const struct stem_rows *r, const float *weight)) \
	/* Gradient of those weights, added to; out is that of the pixels. */ \
	FLAT(void, stem_weight, (const struct stem_rows *r, float *weight)) \
	/* dst = gradient of x, the rows normalised, for dy; adds to the gradients of gamma and beta. */ \
	FLAT(void, layernorm_back, (float *dst, const float *dy, const float *x, int64_t rows, int c, int ld, \
		const float *gamma, float eps, float *d_gamma, float *d_beta)) \
	/* In place, of the first n elements of every row: softmax(scale * x), zeros behind them; narrow (rows, ld): the same as \
	 * bf16, or NULL. */ \
	FLAT(void, softmax, (float *x, int rows, int n, int ld, float scale, uint16_t *narrow)) \
	/* From the gradient of the probabilities p to that of x, in place, or, where narrow is not NULL, there. */ \
	FLAT(void, softmax_back, (float *d, const float *p, int rows, int n, int ld, float scale, uint16_t *narrow)) \
	/* out += in; flat. */ \
	FLAT(void, add, (float *out, const float *in, int64_t n)) \
	/* Sum of (a*x + b*y)^2. */ \
	FLAT(double, squares, (int64_t n, double a, const float *x, double b, const float *y)) \
	FLAT(void, sgd, (const struct sgd *s, int64_t n, float *w, const float *g, float *v)) \
	FLAT(void, adamw, (const struct adamw *s, int64_t n, float *w, const float *g, float *m, float *v)) \
	FLAT(void, ema, (int64_t n, float m, const float *query, float *key))

#define KERNEL_MEMBER(type, name, arguments) type (*name)arguments;
struct kernels {
	KERNELS(KERNEL_MEMBER, KERNEL_MEMBER)
};

/* For F32 or BF16. */
const struct kernels *kernels_find(enum dtype e);

#endif
