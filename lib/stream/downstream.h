/* downstream.h - the side of a stage that serves: ticket, clients, requests; nothing here waits */
#ifndef STREAM_DOWNSTREAM_H
#define STREAM_DOWNSTREAM_H

#include "lib/stream/stage_state.h"

enum { LATE_SECONDS = 2 }; /* between clients that read the same ticket */

int downstream_record(struct stage *s, int client, struct record *r);
const char *downstream_name(const struct stage *s, int client);
/* A client number belongs to somebody new. */
void downstream_meet(struct stage *s, int client);
void downstream_silence(struct stage *s, int client);
/* After fail(): says it and tells the client, 0; -1 when nobody else is served, then stage_finish() does both. */
int downstream_refuse(struct stage *s, int client);
void downstream_gone(struct stage *s);
/* Whether the downstream side is over: 0 no, 1 all said goodbye, -1 lost. *timeout as in upstream_tend(). */
int downstream_tend(struct stage *s, int *timeout);
/* The first request that may be answered now, -1: none. *timeout likewise. */
int downstream_due(struct stage *s, int *timeout);
/* Takes it out of the inbox. */
void downstream_take(struct stage *s, int due, struct request *q);
void downstream_farewell(struct stage *s, const struct record *word);
void downstream_fault_ticket(int code, const char *sentence);

#endif
