/*
 * queue.h - fixed-size FIFO of key embeddings, the dictionary of MoCo (He et al. 2020, section 3.2)
 *
 * Two tensors that belong to the loss's state: rows f32 (size, dim) of unit length, and pointer i64 (1), the row that the next
 * push replaces. The first content is random: unit Gaussian rows by Philox, a pure function of (seed, number).
 *
 *	queue_fill(rows, seed, 0);
 *	queue_push(rows, pointer, keys, 256);           size is a multiple of 256
 */
#ifndef LOSS_QUEUE_H
#define LOSS_QUEUE_H

#include "lib/tensor/tensor.h"

/* number: which queue of the loss, so that two differ. */
void queue_fill(const struct tensor *rows, uint64_t seed, int number);
/* Replaces n rows from the pointer on by keys (n, dim), wrapping at the end. */
void queue_push(const struct tensor *rows, const struct tensor *pointer, const float *keys, int n);
/* Adds both to the state of a loss, under these names. */
struct objective;
void queue_add(struct objective *o, const char *rows, const char *pointer, int64_t size, int64_t dim, int number);
/* Whether a pointer that was put back suits steps of so many rows. 0, or -1 after fail(). */
int queue_accept(const struct tensor *pointer, const struct tensor *rows, int64_t step);
/* 0 when size, the parameter key, is a multiple of step, else -1 with EXIT_USAGE: the nearest multiple is named. */
int queue_fits(const char *loss, const char *key, int64_t size, int64_t step);

#endif
