/*
 * parts.h - which rows of a step share BN statistics: the parts of the queries, the groups of the keys
 *
 * A step of batch rows is cut into parts; part i is rows floor(i*batch/parts) up to floor((i+1)*batch/parts), the cut that
 * wants are made in (wire.5), so a part can be asked for alone. Queries are normalised part by part.
 *
 * Keys must not be normalised together with their queries, or statistics would tell them apart from the queue's (He et al.
 * 2020, sec. 3.3, "shuffling BN"). Rows drawn at random could only be gathered from a whole step in memory; so each part is cut
 * again, into cells, and the key group g is cell 0 of part g, cell 1 of part g-1, cell 2 of part g-2, ... (mod parts): a query
 * shares at most one in cells of its neighbours with its key, as with random rows on as many devices. Which samples stand where
 * is a fresh permutation every epoch. Cells are numbered through the step: a cell is itself a part, of parts*cells, of at least
 * one row.
 *
 *	batch 16, parts 4:  cells of 1 row, part 0 = rows 0 1 2 3; key group 1 = rows 4 (cell 0 of part 1), 1 (cell 1 of part 0),
 *	                    14 (cell 2 of part 3), 11 (cell 3 of part 2)
 */
#ifndef NN_PARTS_H
#define NN_PARTS_H

#include "lib/base/base.h"

enum { CELLS_MAX = 8 };

/* First row of a part; that of part == parts is batch. */
static inline int part_start(int batch, int part, int parts)
{
	return (int)((int64_t)part * batch / parts);
}

static inline int part_rows(int batch, int part, int parts)
{
	return part_start(batch, part + 1, parts) - part_start(batch, part, parts);
}

/* Cells a part has, and parts a key group is gathered from; 1: keys are grouped as queries. */
static inline int key_cells(int batch, int parts)
{
	return MIN(MIN(parts, CELLS_MAX), batch / parts);
}

/* Cell i of a key group, a part of parts*key_cells(). */
static inline int key_cell(int batch, int parts, int group, int i)
{
	return (group - i + parts) % parts * key_cells(batch, parts) + i;
}

/* Rows that any part, any key group has at most. */
static inline int part_most(int batch, int parts)
{
	return (batch + parts - 1) / parts;
}

static inline int key_most(int batch, int parts)
{
	int cells = key_cells(batch, parts), grid = parts * cells;

	return cells * ((batch + grid - 1) / grid);
}

#endif
