/*
 * kernels.h - the loops over activations that no library does well, compiled once for every instruction set
 *
 * An activation array is rows x ld floats, ld = channels rounded up to 16: rows start on cache lines and no loop has a
 * remainder. What lies in the padding is of no meaning to anybody; no kernel mixes channels. Per-channel vectors have ld
 * elements. The loops over rows (layernorm, softmax) do mix the elements of a row, but only the first of them that count.
 *
 *	const struct kernels *k = kernels_find();          the best this machine has, or what SPRAT_ISA=base|avx2|avx512 forces
 *	k->read(tile, raw, rows, ld, &affine, NULL, ACT_HARDSWISH, false);
 */
#ifndef NN_KERNELS_H
#define NN_KERNELS_H

#include "lib/nn/arch.h"

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
	bool add;                /* out += instead of = */
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

struct kernels {
	const char *name;
	/* dst = act(z) * gate, or += when add; gate (ld) or NULL. */
	void (*read)(float *dst, const float *src, int64_t rows, int ld, const struct affine *f, const float *gate, enum act act,
		     bool add);
	/* u8 pixels to (x/255 - mean)/std given as scale and shift of each channel; n pixels of 3. */
	void (*read_view)(float *dst, const uint8_t *src, int64_t n, const float scale[3], const float shift[3]);
	/* Column sums of x - x[0] and of its square, (ld) each: the first row as origin keeps the variance exact. */
	void (*moments)(const float *x, int64_t rows, int ld, float *sum, float *squares);
	/* dst = c[0]*d + c[1]*raw + c[2]: the gradient through batch norm; c is (3, ld). */
	void (*grad)(float *dst, const float *d, const float *raw, int64_t rows, int ld, const float *c);
	/* The same with d = gate*d + pooled*act'(z), where gate (NULL: 1), pooled (ld) and d (NULL: 0) are of one image. */
	void (*grad_pooled)(float *dst, const float *d, const float *raw, int64_t rows, int ld, const float *c,
			    const struct affine *f, enum act act, const float *gate, const float *pooled);
	/* In place d *= act'(z); where f has xhat, adds to the column sums of d (sum) and of d*xhat (dots), and where gates is
	 * not NULL, of (d before) * act(z). */
	void (*finish)(float *d, const float *raw, int64_t rows, int ld, const struct affine *f, enum act act, float *sum,
		       float *dots, float *gates);
	/* Column sums over one image of act(z), and where slopes is not NULL of act'(z) and act'(z)*xhat; (ld) each, added. */
	void (*pool)(const float *raw, int64_t rows, int ld, const struct affine *f, enum act act, float *sum, float *slopes,
		     float *dots);
	/* dst = max over the k*k pixels at tap[] (NULL: outside), all of ld floats. */
	void (*max)(float *dst, const float *const *tap, int taps, int ld);
	/* The first tap that holds the maximum gets d added: to[t] beside tap[t]. */
	void (*max_back)(const float *d, const float *const *tap, float *const *to, int taps, int ld);
	/* One row of outputs; rows and out_row are not looked at. */
	void (*depthwise)(const struct dw_rows *r);
	/* Gradient of one row of kw weights, added to: the sum over all pixels of out (the gradient) times in. in's rows are
	 * in_row apart from one output row to the next. */
	void (*depthwise_weight)(const struct dw_rows *r, float *weight);
	/* Every row less its mean, over its standard deviation, times gamma, plus beta, (c) each. dst may be src. */
	void (*layernorm)(float *dst, const float *src, int64_t rows, int c, int ld, const float *gamma, const float *beta,
			  float eps);
	/* dst = gradient of x, the rows normalised, for dy; adds to the gradients of gamma and beta. */
	void (*layernorm_back)(float *dst, const float *dy, const float *x, int64_t rows, int c, int ld, const float *gamma,
			       float eps, float *d_gamma, float *d_beta);
	/* In place, of the first n elements of every row: softmax(scale * x). The rest of a row is overwritten. */
	void (*softmax)(float *x, int rows, int n, int ld, float scale);
	/* In place, from the gradient of the probabilities p to that of x. */
	void (*softmax_back)(float *d, const float *p, int rows, int n, int ld, float scale);
	/* out += in; flat. */
	void (*add)(float *out, const float *in, int64_t n);
	/* Sum of (a*x + b*y)^2. */
	double (*squares)(int64_t n, double a, const float *x, double b, const float *y);
	void (*sgd)(const struct sgd *s, int64_t n, float *w, const float *g, float *v);
	void (*adamw)(const struct adamw *s, int64_t n, float *w, const float *g, float *m, float *v);
	void (*ema)(int64_t n, float m, const float *query, float *key);
};

/* NULL after fail() when SPRAT_ISA names what this build or machine does not have. */
const struct kernels *kernels_find(void);

#endif
