/*
 * backend.h - who multiplies matrices: OpenBLAS (every platform, the oracle) or oneDNN (kernels made for this machine's ISA)
 *
 * Row-major, one thread a call, sums in f32. To add a backend: write its file and one line in backends[].
 *
 *	const struct backend *b = backend_find(NULL);          the default; NULL after fail() for an unknown name
 *	void *room = b->open();                                what one thread keeps between calls
 *	b->multiply(room, &(struct product){ .m = m, .n = n, .k = k, .a = a, .lda = lda, .b = w, .ldb = n, .c = c, .ldc = n });
 *	b->close(room);
 */
#ifndef NN_BACKEND_H
#define NN_BACKEND_H

#include "lib/nn/kernels.h"

/* C = op(A) op(B), += when add: op(A) (m, k), op(B) (k, n), C (m, n); leading dimensions in elements. */
struct product {
	enum dtype element;    /* of A and B */
	enum dtype result;     /* of C: BF16, where A and B are, or else floats */
	bool trans_a, trans_b, add;
	bool packed;             /* B is packed for AMX, which multiplies (tiles.h) */
	int m, n, k;
	const void *a, *b;
	int lda, ldb, ldc;
	void *c;
};

struct backend {
	struct entry entry;
	void *(*open)(void);
	void (*close)(void *room);
	void (*multiply)(void *room, const struct product *p);
	bool (*narrow)(void);    /* whether it multiplies bf16 here, and faster than f32 */
	const char *(*version)(void);
};

extern const struct table backend_table;
const struct backend *backend_find(const char *name);

#ifdef WITH_ONEDNN
void *onednn_open(void);
void onednn_close(void *room);
void onednn_multiply(void *room, const struct product *p);
bool onednn_narrow(void);
const char *onednn_version(void);
#endif

#endif
