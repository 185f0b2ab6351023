/* wants.h - what a stage has asked for and not yet taken */
#ifndef STREAM_WANTS_H
#define STREAM_WANTS_H

#include "lib/stream/stage_state.h"

/* How many wants a server may have open. */
int wants_credit(const struct stage *s);
/* Sends what waits for a server to those that have room. */
void wants_assign(struct stage *s);
/* A server is gone: what it has not answered goes to another. */
void wants_return(struct stage *s, const struct server *v);
/* Takes over a batch. 0, or -1 after fail(): it is not what the server was asked for. */
int wants_answer(struct stage *s, struct server *v, struct record *r);
/* The answer to the first want, which is then closed; NULL: it has not come. */
struct record *wants_take(struct stage *s);

#endif
