/*
 * progress.h - the live line of the last stage: on a terminal one line redrawn, elsewhere a line now and then
 *
 * Never starts with a program's name, so that messages stay distinguishable. Nothing is drawn with -q.
 *
 *	progress_show(step, steps, "step %d/%d  loss %.3f  %.0f images/s", ...);     as often as you like
 *	progress_close();                                                           before any other output to stderr
 *
 * Parts of the line are two spaces apart, the most important first; the time that is left comes behind the first one. On a
 * terminal those that fit its width at the moment are drawn.
 */
#ifndef BASE_PROGRESS_H
#define BASE_PROGRESS_H

#include "lib/base/base.h"

/* Draws at most 5 times a second on a terminal, every 10 seconds elsewhere; the last line (done = total) is always drawn. The
 * time left is reckoned from the pace since the first call with this total. */
void progress_show(int64_t done, int64_t total, const char *fmt, ...) PRINTF(3, 4);
void progress_close(void);
/* Seconds since some fixed point, monotonic. */
double now(void);

#endif
