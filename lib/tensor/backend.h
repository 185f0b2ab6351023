/*
 * backend.h - who multiplies matrices: OpenBLAS (every platform, the oracle), oneDNN (kernels made for this machine's ISA), or
 * AMX (bf16 alone, where the machine has it)
 *
 * Row-major, one thread a call, sums in f32. To add a backend: write its file and one line in backends[] (backends.c).
 *
 *	const struct backend *b = backend_find(NULL);          the default; NULL after fail() for an unknown name
 *	void *room = b->open();                                what one thread keeps between calls
 *	b->multiply(room, &(struct product){ .m = m, .n = n, .k = k, .a = a, .lda = lda, .b = w, .ldb = n, .c = c, .ldc = n });
 *	b->close(room);
 *
 * A backend may have kernels for convolutions too, which need no patches (struct convolver), or what they can be made of (amx.h).
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
	/* Bytes of the filters, one order for c->images, a power of two, and all smaller ones; 0: patches are better. */
	size_t (*filters)(void *room, const struct conv *c);
	/* Filters from the weight, (kh, kw, in, out); CONV_WEIGHT: adds filters to the weight. */
	void (*order)(void *room, const struct conv *c, float *weight, float *filters);
	/* Overwrites in for CONV_INPUT, filters for CONV_WEIGHT. */
	void (*convolve)(void *room, const struct conv *c, float *in, float *filters, float *out);
};

struct amx;

struct backend {
	struct entry entry;
	bool (*has)(enum dtype e);   /* whether it multiplies F32, BF16 here, and BF16 faster than F32 */
	void *(*open)(void);
	void (*close)(void *room);
	void (*multiply)(void *room, const struct product *p);
	const char *(*version)(void);   /* of the library; NULL: there is none */
	const struct convolver *convolver;   /* NULL: it has none */
	const struct amx *amx;       /* NULL: it is another */
};

/* Of those that multiply f32: the one of that name, NULL: the best. */
const struct backend *backend_find(const char *name);
/* Who multiplies bf16 beside it: AMX where that is there, else itself; NULL: nobody, since f32 is as fast. */
const struct backend *backend_narrow(const struct backend *b);

#endif
