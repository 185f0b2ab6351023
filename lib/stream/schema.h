/* schema.h - what a server says of itself, and whether that can be worked with */
#ifndef STREAM_SCHEMA_H
#define STREAM_SCHEMA_H

#include "lib/stream/stage_state.h"

/* Whether a schema is whole and goes with that of another server, where there is one. 0, or -1 after fail(). */
int schema_check(const struct stage *s, const struct server *v, const struct record *r);

#endif
