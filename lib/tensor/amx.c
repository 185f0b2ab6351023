/* amx.c - the backend: what a thread keeps, and whole products */
#include "lib/tensor/amx.h"

#ifdef ISA_X86
bool amx_has(enum dtype e)
{
	return e == BF16 && isa() >= ISA_AMX;
}

/* --- rooms --- */

struct room {
	char *at[AMX_ARRAYS];
	size_t size[AMX_ARRAYS];
};

void *amx_open(void)
{
	return xcalloc(1, sizeof(struct room));
}

void amx_close(void *room)
{
	struct room *r = room;

	for (int i = 0; r && i < AMX_ARRAYS; i++)
		free(r->at[i]);
	free(r);
}

void *amx_lend(void *room, enum amx_array array, size_t bytes)
{
	struct room *r = room;

	if (bytes > r->size[array]) {
		free(r->at[array]);
		r->size[array] = bytes;
		r->at[array] = xaligned(bytes);
	}
	return r->at[array];
}

/* --- products --- */

/* The left factor with rows of numbers side by side: where it lies, or transposed; *pitch: bytes between rows. */
static const char *left_of(void *room, const struct product *p, int64_t *pitch)
{
	char *to;

	*pitch = (int64_t)p->lda * 2;
	if (!p->trans_a && (p->k >= AMX_DEPTH || p->k % 2 == 0))
		return p->a;
	if (p->trans_a) {
		*pitch = (int64_t)amx_steps(p->k) * 64 + 64;   /* no power of two: rows of a panel should not meet in the cache */
		to = amx_lend(room, AMX_LEFT, (size_t)*pitch * p->m + 64);
		amx_transpose(to, *pitch, p->a, p->lda, p->m, p->k);
		return to;
	}
	*pitch = 64;
	to = amx_lend(room, AMX_LEFT, (size_t)64 * p->m);
	amx_pad(to, p->a, p->lda, p->m, p->k);
	return to;
}

static const char *right_of(void *room, const struct product *p)
{
	struct amx_source s = { p->b, BF16, p->ldb, p->trans_b };
	char *to = amx_lend(room, AMX_RIGHT, amx_packed(p->k, p->n));

	amx_pack(to, (int64_t)amx_steps(p->k) * AMX_STEP_BYTES, &s, p->k, p->n, 0, amx_panels(p->n));
	return to;
}

static void multiply(void *room, const struct product *p, const char *right)
{
	int steps = amx_steps(p->k), full = p->m / 16;
	struct amx_panel *panel = amx_lend(room, AMX_LISTS, (full + 1) * sizeof(*panel) + 2 * steps * sizeof(int32_t));
	int32_t *at = (int32_t *)(panel + full + 1);
	struct amx_group g = { 0, full, steps, at, at + steps };
	struct amx_work w = { .rows = 16, .depth = amx_depth(p->k), .right = right,
			      .right_panel = (int64_t)steps * AMX_STEP_BYTES, .columns = p->n,
			      .result = p->result == BF16 ? BF16 : F32, .add = p->add,
			      .to_row = (int64_t)p->ldc * element_size(p->result), .panel = panel, .group = &g, .groups = 1 };
	const char *left = left_of(room, p, &w.left_row);

	for (int i = 0; i < steps; i++) {
		at[i] = 2 * amx_start(p->k, i);
		at[steps + i] = i * AMX_STEP_BYTES;
	}
	for (int i = 0; i <= full; i++)
		panel[i] = (struct amx_panel){ left + 16 * i * w.left_row, (char *)p->c + 16 * i * w.to_row };
	if (full)
		amx_run(&w);
	w.rows = p->m % 16;
	w.panel = panel + full;
	g.count = 1;
	if (w.rows)
		amx_run(&w);
}

void amx_multiply(void *room, const struct product *p)
{
	multiply(room, p, right_of(room, p));
}

void amx_multiply_packed(void *room, const struct product *p)
{
	multiply(room, p, p->b);
}
#endif
