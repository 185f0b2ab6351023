/* wants.h - what a stage has asked for and not yet taken */
#ifndef STREAM_WANTS_H
#define STREAM_WANTS_H

#include "lib/stream/stage_state.h"

/* How many wants a server may have open. */
int wants_credit(const struct stage *s);
/* Sends what waits for a server to those that have room. 0, or -1 after fail(): one ended before it answered as the others. */
int wants_assign(struct stage *s);
/* A server is gone: what it has not answered goes to another. */
void wants_return(struct stage *s, const struct server *v);
/* Takes over a batch. 0, or -1 after fail(): it is not what the server was asked for. */
int wants_answer(struct stage *s, struct server *v, struct record *r);
/* What was asked for first, which is then closed: 1 and the answer, 0: it has not come, -1 after fail(): its shares disagree. */
int wants_take(struct stage *s, struct record **answer);

#endif
