/*
 * stage.h - the life of a stage: tickets, open and schema, wants and answers, death of neighbours, signals, the last word
 *
 * A stage has an upstream side (it wants and takes), a downstream side (it serves), or both. Calls block, and whichever one
 * blocks, everything else is attended to meanwhile: new tickets, dying workers (their wants go to another one), new clients.
 *
 *	a pure server (augment)                            a client (loss)
 *
 *	s = stage_new("augment", &o, argc, argv);          s = stage_new("loss", &o, argc, argv);
 *	r = stage_serve(s);                                r = stage_connect(s, open);
 *	while (r == 0 && (r = stage_next(s, &q)) > 0)      while (r == 0) {
 *		r = q.record->kind == KIND_OPEN                    stage_want(s, step, 0, 1, needs);
 *			? stage_answer(s, &q, schema)              if ((r = stage_take(s, &batch)) <= 0) break;
 *			: answer(s, &q);                           r = stage_reply(s, grad);
 *	return stage_finish(s, r);                         } return stage_finish(s, r);
 *
 * Functions returning int give 0 (or 1: "here it is", 0: "nothing more") and -1 with the sentence kept. stage_finish() says the
 * sentence once for the whole line: a stage that only passes on a neighbour's fault stays silent and exits with its code.
 */
#ifndef STREAM_STAGE_H
#define STREAM_STAGE_H

#include "lib/base/options.h"
#include "lib/stream/record.h"

/* Options all stages share; members of a program's own struct. Defaults: STAGE_OPTIONS_INIT, STAGE_SERVER_OPTIONS_INIT. */
struct stage_options {
	int64_t jobs;             /* threads; 0: all processors */
	int verbosity;
	double patience;          /* seconds to wait for a neighbour */
	const char *bind;         /* server side */
	bool insecure;
	struct option_list from;  /* client side: tickets instead of stdin */
	bool serves;              /* the stage writes a ticket: if it fails before, that is a fault ticket */
};
#define STAGE_OPTIONS_INIT { .patience = 60, .bind = "" }
#define STAGE_SERVER_OPTIONS_INIT { .patience = 60, .bind = "", .serves = true }
#define STAGE_ROWS(type, m) \
	{ 'j', "jobs", OPT_INT, offsetof(type, m.jobs), 0, 1024, "N", "threads; 0: one a processor", NULL }, \
	{ 'q', "quiet", OPT_COUNT_DOWN, offsetof(type, m.verbosity), 0, 0, NULL, "no notes, no progress line", NULL }, \
	{ 'v', "verbose", OPT_COUNT_UP, offsetof(type, m.verbosity), 0, 0, NULL, "say more", NULL }, \
	{ 0, "patience", OPT_REAL, offsetof(type, m.patience), 0, 1e6, "S", "seconds to wait for a neighbour", NULL }
#define STAGE_SERVER_ROWS(type, m) \
	{ 0, "bind", OPT_TEXT, offsetof(type, m.bind), 0, 0, "ADDR", "serve at tcp://HOST:PORT, not at a unix socket", NULL }, \
	{ 0, "insecure", OPT_FLAG, offsetof(type, m.insecure), 0, 0, NULL, "no encryption on tcp", NULL }
#define STAGE_CLIENT_ROWS(type, m) \
	{ 0, "from", OPT_LIST, offsetof(type, m.from), 0, 0, "TICKET", \
	  "connect to this ticket, not to those on stdin; repeatable", NULL }

struct stage;

/* First call of every stage's main after its options: signals, log level, threads (-j). Never fails. */
struct stage *stage_new(const char *name, const struct stage_options *o, int argc, char **argv);
/* Ends a stage whose options are wrong: says why() and, when serves, lets the next stage know. Returns the exit code. */
int stage_refuse(const char *name, bool serves);
/* Says the last word (result -1: why()), tells both neighbours, frees the stage. Returns the exit code for main. */
int stage_finish(struct stage *s, int result);
/* Number of the signal that asks the line to end, here or at another stage; 0: none. */
int stage_signal(const struct stage *s);

/* --- upstream side --- */

/* Reads the first ticket, opens the link, waits for the schema. open: what to say of oneself (facts, scalars), may be NULL. */
int stage_connect(struct stage *s, const struct record *open);
/* The first server's schema (of several that give parts of each step, that of part 0): facts, offers, lineage; for a trained one
 * also "first_step" and "loss.*" tensors. */
const struct record *stage_schema(const struct stage *s);
/* How many more wants it makes sense to have open now: two a server, one for a trained one; servers that give parts count as
 * one. */
int stage_room(const struct stage *s);
/* Asks for part of parts of a step; names: a record whose names are asked for. Answers come in the order of the wants. */
void stage_want(struct stage *s, int64_t step, int part, int parts, const struct record *names);
/* The next answer: 1 and a record (the caller frees it), 0 when upstream has ended, -1; also -1 soon after a signal, where no
 * trained stage's step depends on the answer. */
int stage_take(struct stage *s, struct record **answer);
/* Sends the gradient of the step just taken; servers that give parts get their rows of it, the state only that of part 0. */
void stage_reply(struct stage *s, const struct record *grad);

/* --- downstream side --- */

struct request {
	struct record *record;    /* KIND_OPEN, KIND_WANT or KIND_GRAD; freed by stage_answer or the next stage_next */
	int client;
	double held_since;        /* the stage's own: when the other clients' pace began to hold it back */
};

/* Binds and writes the ticket. trained: only one client is ever served, and its disappearance ends the stage. */
int stage_serve(struct stage *s, bool trained);
/* The next request: 1, 0 when all clients have said goodbye, -1. */
int stage_next(struct stage *s, struct request *q);
/* Whether a request is waiting, without blocking: 1, 0, -1. */
int stage_pending(struct stage *s);
/* Adds to an answer that has its want's step, part and parts what is still there of the wanted names because another client was
 * given it, and its epoch. Whether that is all: else the caller makes the names that it lacks. */
bool stage_recall(struct stage *s, const struct record *want, struct record *answer);
/* Answers a request; a client that is gone is no failure. Where there are several clients the tensors, which must not change
 * after this, are kept for those who will ask for them, too. */
int stage_answer(struct stage *s, const struct request *q, const struct record *answer);
/* A request that cannot be answered, after fail(): where there are other clients its client alone is told, and 0 returned;
 * else -1. */
int stage_decline(struct stage *s, const struct request *q);
/* Says that nothing more will come, after the last checkpoint is on disk. code: what the client should exit with. */
void stage_end(struct stage *s, int code);

/* --- what stages put into schemas --- */

/* Adds version, incarnation, stage name, and the lineage (upstream's lines, then this command) to a schema. */
void stage_describe(const struct stage *s, struct record *schema);

#endif
