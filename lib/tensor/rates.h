/*
 * rates.h - what this machine does in a second, measured: half a second each, the best of several times, all threads together
 *
 *	bytes = rate_of_memory();                                  2.6e10 on two cores of a server
 *	flop = rate_of_products(backend_find(NULL), F32, 2);   4e11
 */
#ifndef TENSOR_RATES_H
#define TENSOR_RATES_H

#include "lib/tensor/backend.h"

/* Bytes read and written by a = b + s*c over arrays far larger than caches (as STREAM, McCalpin 1995). */
double rate_of_memory(void);
/* Multiplications and additions of products of these elements, which the backend has, of a shape that suits a core's cache. */
double rate_of_products(const struct backend *backend, enum dtype e, int threads);

#endif
