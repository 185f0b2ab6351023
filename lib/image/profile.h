/*
 * profile.h - where the time of augment goes: seconds of each thread by kind of work
 *
 *	struct profile p = { .on = true };
 *	profile_start(&p);
 *	... read the bytes ...
 *	profile_mark(&p, PHASE_READ);                  the time since the last mark was reading
 *	... decode ...
 *	profile_mark(&p, PHASE_DECODE);
 *
 * Reading and waiting are measured by the clock, work by the processor's time, which others on the machine do not stretch. What
 * threads spend that have no profile, those that send, is what is left of the processor's time of the program.
 * Without on nothing is measured. A profile belongs to one thread.
 */
#ifndef IMAGE_PROFILE_H
#define IMAGE_PROFILE_H

#include "lib/base/progress.h"

enum phase { PHASE_READ, PHASE_DECODE, PHASE_RESAMPLE, PHASE_COLOUR, PHASE_BLUR, PHASE_WEAVE, PHASE_SEND, PHASE_WAIT, PHASES };

struct profile {
	bool on;
	double clock, busy;     /* at the last mark: the time, and what this thread had used of a processor */
	double worked;          /* of a processor, in all phases */
	double seconds[PHASES];
};

/* Begins to measure; profile_mark() says what the time since then, or since the last mark, was spent on. */
void profile_start(struct profile *p);
void profile_mark(struct profile *p, enum phase phase);

/* Adds the seconds of p to sum. */
void profile_add(struct profile *sum, const struct profile *p);
/* The processor's time of the program until now; without on 0. */
double profile_program(const struct profile *p);
/* Counts what the program has spent since then and no profile in sum has as the phase. */
void profile_rest(struct profile *sum, double since, enum phase phase);
/* Notes each kind of work with its share of all that is not waiting. */
void profile_note(const struct profile *p);

#endif
