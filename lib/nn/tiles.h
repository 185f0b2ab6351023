/*
 * tiles.h - products of bf16 matrices by AMX, whose registers are tiles of up to 16 rows of 64 bytes
 *
 * One instruction adds to a tile of 16 x 16 floats the product of a left tile, rows of 32 numbers as they lie in memory, and a
 * right tile, whose rows hold pairs: numbers 2i and 2i+1 of a column side by side (TDPBF16PS; Intel's manual, volume 2). So the right
 * factor is packed: column tile by column tile, of each its steps one after another, a kilobyte a step. A matrix of k rows
 * takes ceil(k/32) steps; the last one ends at row k, and the rows that it shares with the one before are zeros there. Below
 * 32 rows the one step has k, made even.
 *
 *	size_t bytes = tiles_packed(k, n);
 *	tiles_pack(packed, &(struct tiles_source){ w, F32, n }, k, n, 0, tiles_columns(n));
 *	tiles_multiply(room, &(struct product){ ..., .b = packed, .packed = true });
 *
 * tiles_run() is what lies below: any set of row tiles, each with its own place in the left factor and in the result, in groups
 * with the same steps. Convolutions give it the pixels of an output as rows and a step for each tap and 32 channels.
 *
 * Where isa() is ISA_AMX. Numbers that are not finite come through; denormals are zeros. Everything here runs on one thread.
 */
#ifndef NN_TILES_H
#define NN_TILES_H

#include "lib/base/isa.h"
#include "lib/nn/kernels.h"
#include "lib/tensor/backend.h"

#define TILE_ROWS 16
#define TILE_DEPTH 32            /* numbers a step */
#define TILE_BYTES 1024

/* Steps of k numbers, and how many of them one takes (even). */
static inline int tiles_steps(int k)
{
	return (k + TILE_DEPTH - 1) / TILE_DEPTH;
}
static inline int tiles_depth(int k)
{
	return k < TILE_DEPTH ? (k + 1) / 2 * 2 : TILE_DEPTH;
}
/* First number of step s. */
static inline int tiles_start(int k, int s)
{
	return k < TILE_DEPTH ? 0 : (s + 1) * TILE_DEPTH > k ? k - TILE_DEPTH : s * TILE_DEPTH;
}
static inline int tiles_columns(int n)
{
	return (n + TILE_ROWS - 1) / TILE_ROWS;
}
static inline size_t tiles_packed(int k, int n)
{
	return (size_t)tiles_columns(n) * tiles_steps(k) * TILE_BYTES;
}

/* A row-major matrix; turned: its transpose is meant. */
struct tiles_source {
	const void *at;
	enum dtype element;      /* F32 (rounded to bf16) or BF16 */
	int64_t ld;
	bool turned;
};
/* Column tiles from .. to-1 of a right factor (k, n), each column_bytes after the one before, at to. */
void tiles_pack(char *to, int64_t column_bytes, const struct tiles_source *s, int k, int n, int from, int end);
/* Rows of k numbers, pitch bytes apart, of a left factor (m, k) whose transpose (k, m) lies in from; k padded with zeros to steps. */
void tiles_turn(char *to, int64_t pitch, const void *from, int64_t ld, int m, int k);

/* Rows of 64 bytes of a left factor (m, k), k < 32: padded with zeros. */
void tiles_pad(char *to, const void *from, int64_t ld, int m, int k);

struct tiles_row {
	const char *left;
	char *to;
};
struct tiles_group {
	int first, count;        /* row tiles */
	int steps;
	const int32_t *left, *right;   /* of each step: bytes from the row tile, from the column tile */
};
struct tiles_work {
	int rows;                /* of every row tile: 1 to 16 */
	int depth;               /* numbers a step: even, 2 to 32 */
	int64_t left_row;        /* bytes between rows of the left factor */
	const char *right;       /* the first column tile */
	int64_t right_column;    /* bytes between column tiles */
	int columns;             /* of the result */
	enum dtype result;       /* F32 or BF16 */
	bool add;                /* to what is there */
	int64_t to_row;          /* bytes between rows of the result */
	const struct tiles_row *row;
	const struct tiles_group *group;
	int groups;
};
void tiles_run(const struct tiles_work *w);

/* What one thread keeps between products. */
struct tiles_room;
struct tiles_room *tiles_open(void);
void tiles_close(struct tiles_room *r);
/* At least that many bytes, on a cache line; they lose what they held when more is asked for. tiles_multiply() uses all but the last. */
enum tiles_part { TILES_LEFT, TILES_RIGHT, TILES_LISTS, TILES_GATHERED, TILES_PARTS };
void *tiles_lend(struct tiles_room *r, enum tiles_part part, size_t bytes);
/* A product of bf16; p->packed: its right factor is packed. */
void tiles_multiply(struct tiles_room *r, const struct product *p);

#endif
