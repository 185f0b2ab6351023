/*
 * join.h - servers that each give one part of every step: what each is asked for, their answers made one, gradients cut for them
 *
 * The tickets of n such servers say part=0/n to part=n-1/n. What a stage asks for goes to them as shares, parts of the step that
 * lie within one server's rows each, and comes back as if one server had made it. A pool is the case n = 1: any of its servers
 * may answer any want, which is one share, and nothing is copied.
 *
 *	three servers, batch 7     want part 0 of 1: parts 0, 1, 2 of 3, rows 0-1, 2-3, 4-6, from servers 0, 1, 2
 *	                           want part 1 of 2: parts 3, 4, 5 of 6, rows 3, 4, 5-6, from servers 1, 2, 2
 */
#ifndef STREAM_JOIN_H
#define STREAM_JOIN_H

#include "lib/stream/stage_state.h"

/* n of the tickets; 1: a pool, or none has come. */
int join_parts(const struct stage *s);
/* Whether a ticket goes with those before it. A server that died makes room for another one of its part. -1 after fail(). */
int join_admit(struct stage *s, const struct ticket *t);
/* The first part that no server is there for; -1: none, everything can be asked. */
int join_absent(const struct stage *s);
/* Whether a server of that part has ended; of every part. */
bool join_ended(const struct stage *s, int part);
bool join_ended_all(const struct stage *s);

/* How many shares a want of one of so many parts has: share i of part is part*shares + i of parts*shares. */
int join_shares(const struct stage *s, int parts);
/* Rows of a part of a step; in an evaluation, where pictures may be left out, at most so many come. */
int64_t join_rows(const struct stage *s, int64_t step, int part, int parts);
/* The part whose server has a share. */
int join_home(const struct stage *s, int part, int parts);
/* Whether a share has the rows that are due. 0, or -1 after fail(). */
int join_check(const struct stage *s, const struct server *v, const struct want *w, const struct record *answer);

/* Makes one answer of those to a want's shares, in their order; it takes them over. NULL after fail(): they do not agree. */
struct record *join_answers(const struct stage *s, struct want *const *shares, int count);
/* What a server needs of a gradient: its own rows, for part 0 alone the loss's state, and its own incarnation. */
struct record *join_cut(const struct server *v, const struct record *grad);

#endif
