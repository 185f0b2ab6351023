/* answers.h - answers that other clients will ask for, too */
#ifndef STREAM_ANSWERS_H
#define STREAM_ANSWERS_H

#include "lib/stream/stage_state.h"

/* A want has come from a client. */
void answers_asked(struct stage *s, int client, int64_t step);
/* Whether a request may be answered now; *timeout: when to look again at the latest, in milliseconds. */
bool answers_due(struct stage *s, struct request *q, int *timeout);
/* A client is being given this answer: its tensors are kept for the others. */
void answers_keep(struct stage *s, int client, const struct record *answer);
/* Drops them all; with -v says how many tensors were sent, and how many of them recalled. */
void answers_release(struct answers *a);

#endif
