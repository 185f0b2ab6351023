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
 * Without on nothing is measured.
 */
#ifndef IMAGE_PROFILE_H
#define IMAGE_PROFILE_H

#include "lib/base/progress.h"

enum phase { PHASE_READ, PHASE_DECODE, PHASE_RESAMPLE, PHASE_COLOUR, PHASE_BLUR, PHASE_WEAVE, PHASE_SEND, PHASE_WAIT, PHASES };
extern const char *const phase_names[PHASES];

struct profile {
	bool on;
	double last;
	double seconds[PHASES];
};

static inline void profile_start(struct profile *p)
{
	if (p->on)
		p->last = now();
}

static inline void profile_mark(struct profile *p, enum phase phase)
{
	double t;

	if (!p->on)
		return;
	t = now();
	p->seconds[phase] += t - p->last;
	p->last = t;
}

/* Adds the seconds of p to sum. */
void profile_add(struct profile *sum, const struct profile *p);
/* Notes each kind of work with its share of all that is not waiting. */
void profile_note(const struct profile *p);

#endif
