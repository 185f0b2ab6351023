/* onednn.h - what backend.h and gemm.h ask of oneDNN, where it was there to build with */
#ifndef TENSOR_ONEDNN_H
#define TENSOR_ONEDNN_H

#include "lib/tensor/backend.h"

#ifdef WITH_ONEDNN
void *onednn_open(void);
void onednn_close(void *room);
void onednn_multiply(void *room, const struct product *p);
size_t onednn_filters(void *room, const struct conv *c);
void onednn_order(void *room, const struct conv *c, float *weight, float *filters);
void onednn_convolve(void *room, const struct conv *c, float *in, float *filters, float *out);
bool onednn_has(enum dtype e);
const char *onednn_version(void);
/* As gemm() of gemm.h. */
void onednn_gemm(bool trans_a, bool trans_b, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb,
		 float beta, float *c, int ldc);
#endif

#endif
