/*
 * amx.h - products of bf16 matrices by AMX, whose registers hold up to 16 rows of 64 bytes
 *
 * One instruction adds to a register of 16 x 16 floats the product of a left one, rows of 32 numbers as they lie in memory, and
 * a right one, whose rows hold pairs: numbers 2i and 2i+1 of a column side by side (TDPBF16PS; Intel's manual, volume 2). So
 * a left factor is row panels of up to 16 rows, and a right one is packed: column panels of 16, of each its steps one after
 * another, a kilobyte a step. A matrix of k rows takes ceil(k/32) steps; the last one ends at row k, and the rows that it shares
 * with the one before are zeros there. Below 32 rows the one step has k, made even.
 *
 *	size_t bytes = amx_packed(k, n);
 *	amx->pack(packed, (int64_t)amx_steps(k) * AMX_STEP_BYTES, &(struct amx_source){ w, F32, n }, k, n, 0, amx_panels(n));
 *	amx->multiply(room, &(struct product){ ..., .b = packed });
 *
 * run() is what lies below: any set of row panels, each with its own place in the left factor and in the result, in groups with
 * the same steps. Convolutions give it the pixels of an output as rows and a step for each tap and 32 channels.
 *
 * Numbers that are not finite come through; denormals are zeros. Everything here runs on one thread, which has AMX: whoever has a
 * backend's struct amx (backend.h) knows that.
 */
#ifndef TENSOR_AMX_H
#define TENSOR_AMX_H

#include "lib/base/isa.h"
#include "lib/tensor/backend.h"

#define AMX_ROWS 16              /* of a row panel; columns of a column panel */
#define AMX_DEPTH 32             /* numbers a step */
#define AMX_STEP_BYTES 1024      /* of a column panel */

/* Steps of k numbers, and how many of them one takes (even). */
static inline int amx_steps(int k)
{
	return (k + AMX_DEPTH - 1) / AMX_DEPTH;
}
static inline int amx_depth(int k)
{
	return k < AMX_DEPTH ? (k + 1) / 2 * 2 : AMX_DEPTH;
}
/* First number of step s. */
static inline int amx_start(int k, int s)
{
	return k < AMX_DEPTH ? 0 : (s + 1) * AMX_DEPTH > k ? k - AMX_DEPTH : s * AMX_DEPTH;
}
static inline int amx_panels(int n)
{
	return (n + AMX_ROWS - 1) / AMX_ROWS;
}
static inline size_t amx_packed(int k, int n)
{
	return (size_t)amx_panels(n) * amx_steps(k) * AMX_STEP_BYTES;
}

/* A row-major matrix; transposed: its transpose is meant. */
struct amx_source {
	const void *at;
	enum dtype element;      /* F32 (rounded to bf16) or BF16 */
	int64_t ld;
	bool transposed;
};

struct amx_panel {
	const char *left;
	char *to;
};
struct amx_group {
	int first, count;        /* row panels */
	int steps;
	const int32_t *left, *right;   /* of each step: bytes from the row panel, from the column panel */
};
struct amx_work {
	int rows;                /* of every row panel: 1 to 16 */
	int depth;               /* numbers a step: even, 2 to 32 */
	int64_t left_row;        /* bytes between rows of the left factor */
	const char *right;       /* the first column panel */
	int64_t right_panel;     /* bytes between column panels */
	int columns;             /* of the result */
	enum dtype result;       /* F32 or BF16 */
	bool add;                /* to what is there */
	int64_t to_row;          /* bytes between rows of the result */
	const struct amx_panel *panel;
	const struct amx_group *group;
	int groups;
};

/* Arrays that a thread keeps between products. multiply() uses all but the last. */
enum amx_array { AMX_LEFT, AMX_RIGHT, AMX_LISTS, AMX_GATHERED, AMX_ARRAYS };

/* What a backend offers that multiplies by AMX; room: as its open() gave it. */
struct amx {
	/* Column panels from .. end-1 of a right factor (k, n), each panel_bytes after the one before, at to. */
	void (*pack)(char *to, int64_t panel_bytes, const struct amx_source *s, int k, int n, int from, int end);
	/* Rows of k numbers, pitch bytes apart, of a left factor (m, k) whose transpose (k, m) lies in from; k padded with zeros
	 * to steps. */
	void (*transpose)(char *to, int64_t pitch, const void *from, int64_t ld, int m, int k);
	void (*run)(const struct amx_work *w);
	/* A product of bf16 whose right factor is packed: b, without ldb and trans_b. */
	void (*multiply)(void *room, const struct product *p);
	/* At least that many bytes, on a cache line; they lose what they held when more is asked for. */
	void *(*lend)(void *room, enum amx_array array, size_t bytes);
};

#ifdef ISA_X86
/* --- of the backend: what stands above, and as in backend.h --- */
bool amx_has(enum dtype e);
void *amx_open(void);
void amx_close(void *room);
void amx_multiply(void *room, const struct product *p);
void amx_multiply_packed(void *room, const struct product *p);
void *amx_lend(void *room, enum amx_array array, size_t bytes);
void amx_pack(char *to, int64_t panel_bytes, const struct amx_source *s, int k, int n, int from, int end);
void amx_transpose(char *to, int64_t pitch, const void *from, int64_t ld, int m, int k);
/* Rows of 64 bytes of a left factor (m, k), k < 32: padded with zeros. */
void amx_pad(char *to, const void *from, int64_t ld, int m, int k);
void amx_run(const struct amx_work *w);
#endif

#endif
