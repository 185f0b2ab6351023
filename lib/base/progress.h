/*
 * progress.h - the live line of the last stage: on a terminal one line redrawn, elsewhere a line now and then
 *
 * Never starts with a program's name, so that messages stay distinguishable. Nothing is drawn with -q.
 *
 *	progress_show("step %d/%d  loss %.3f  %.0f images/s", ...);     as often as you like
 *	progress_close();                                               before any other output to stderr
 */
#ifndef BASE_PROGRESS_H
#define BASE_PROGRESS_H

#include "lib/base/base.h"

/* Draws at most 5 times a second on a terminal, every 10 seconds elsewhere; final: draws now. */
void progress_show(bool final, const char *fmt, ...) PRINTF(2, 3);
void progress_close(void);
/* Seconds since some fixed point, monotonic. */
double now(void);

#endif
