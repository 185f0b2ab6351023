/* pump.h - what a stage waits for: the calls of stage.h that wait are here, and this one */
#ifndef STREAM_PUMP_H
#define STREAM_PUMP_H

#include "lib/stream/stage_state.h"

/* Before a last word: gives the reader of our ticket, who is about to connect, the time to do so. */
void pump_client(struct stage *s);

#endif
