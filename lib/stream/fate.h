/*
 * fate.h - what may end a line: signals, and the last words of neighbours
 */
#ifndef STREAM_FATE_H
#define STREAM_FATE_H

#include "lib/stream/stage_state.h"

/* From now on the first signal asks the line to end, the second one ends the program. Returns a file: readable once one came. */
int fate_signals(void);
/* Number of the signal that came here, 0: none. */
int fate_signal(void);
/* Ends the line with a code but without a word: somebody else has spoken. Returns -1. */
int fate_pass(struct stage *s, int code, const char *sentence);
/* As fail_code(EXIT_GONE); without a word when silent, or when a signal explains the neighbour's end. */
int fate_gone(struct stage *s, bool silent, const char *sentence);
/* Whether so many seconds have passed since a signal of our own; else *timeout (milliseconds, -1: never) ends with them. */
bool fate_overdue(struct stage *s, double seconds, int *timeout);
/* Says that a second signal would help, once, when a neighbour that hangs would keep us from ending: nothing of the step is lost
 * as long as there is hope for it. *timeout likewise. */
void fate_hint(struct stage *s, int *timeout);

#endif
