/* upstream.h - the side of a stage that asks: tickets, servers and what they send; nothing here waits */
#ifndef STREAM_UPSTREAM_H
#define STREAM_UPSTREAM_H

#include "lib/stream/stage_state.h"

/* Begins with the tickets of --from, or with stdin; the schema comes later. open: of stage_connect(). 0, or -1 after fail(). */
int upstream_open(struct stage *s, const struct record *open);

int upstream_record(struct stage *s, int peer, struct record *r);
const char *upstream_name(struct stage *s, int peer);
/* The neighbour has said its last word: it is not answered. */
void upstream_silence(struct stage *s, int peer);
void upstream_broken(struct stage *s, int peer);
int upstream_stdin(struct stage *s);
/* Sends wants, reconnects, gives up: called before every wait. *timeout: when it wants to be called again, in milliseconds
 * (-1: never). */
int upstream_tend(struct stage *s, int *timeout);
void upstream_farewell(struct stage *s, const struct record *word);

#endif
