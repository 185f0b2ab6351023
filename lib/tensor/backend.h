/*
 * backend.h - who multiplies matrices: OpenBLAS (every platform, the oracle) or oneDNN (kernels made for this machine's ISA)
 *
 * Row-major, one thread a call, sums in f32. To add a backend: write its file and one line in backends[].
 *
 *	const struct backend *b = backend_find(NULL);          the default; NULL after fail() for an unknown name
 *	void *room = b->open();                                what one thread keeps between calls
 *	b->multiply(room, &(struct product){ .m = m, .n = n, .k = k, .a = a, .lda = lda, .b = w, .ldb = n, .c = c, .ldc = n });
 *	b->close(room);
 *
 * A backend may have kernels for convolutions too, which need no patches (struct convolver).
 */
#ifndef TENSOR_BACKEND_H
#define TENSOR_BACKEND_H

#include "lib/base/options.h"
#include "lib/tensor/tensor.h"

/* C = op(A) op(B), += when add: op(A) (m, k), op(B) (k, n), C (m, n); leading dimensions in elements. */
struct product {
	enum dtype element;    /* of A and B */
	enum dtype result;     /* of C: BF16, where A and B are, or else floats */
	bool trans_a, trans_b, add;
	bool packed;             /* B is packed for AMX, which multiplies (amx.h) */
	int m, n, k;
	const void *a, *b;
	int lda, ldb, ldc;
	void *c;
};

/* What a convolution computes: its output, or from the output's gradient that of its input or of its weight. */
enum conv_way { CONV_OUTPUT, CONV_INPUT, CONV_WEIGHT, CONV_WAYS };

/* A convolution of whole images, all f32; arrays are (images, h, w, c) without gaps. Integers only. */
struct conv {
	int way, images;
	int in_h, in_w, in_c, out_h, out_w, out_c;
	int k, stride, pad;
};

/* Convolutions that a backend does without patches, by weights in an order of its own: filters. */
struct convolver {
	/* Bytes of the filters, one order for c->images, a power of two, and all smaller ones; 0: patches and products are better. */
	size_t (*filters)(void *room, const struct conv *c);
	/* Filters from the weight, (kh, kw, in, out); CONV_WEIGHT: adds filters to the weight. */
	void (*order)(void *room, const struct conv *c, float *weight, float *filters);
	/* Overwrites in for CONV_INPUT, filters for CONV_WEIGHT. */
	void (*convolve)(void *room, const struct conv *c, float *in, float *filters, float *out);
};

struct backend {
	struct entry entry;
	void *(*open)(void);
	void (*close)(void *room);
	void (*multiply)(void *room, const struct product *p);
	bool (*narrow)(void);    /* whether it multiplies bf16 here, and faster than f32 */
	const char *(*version)(void);
	const struct convolver *convolver;   /* NULL: it has none */
};

extern const struct table backend_table;
const struct backend *backend_find(const char *name);

#endif
