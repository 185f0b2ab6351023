#include "lib/image/profile.h"

#include <time.h>

static const char *const phase_names[PHASES] = {
	"read", "decode", "resample", "colour", "blur", "interleave", "send", "wait for wants"
};

static double processor_time(clockid_t of)
{
	struct timespec t;

	clock_gettime(of, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void profile_start(struct profile *p)
{
	if (!p->on)
		return;
	p->clock = now();
	p->busy = processor_time(CLOCK_THREAD_CPUTIME_ID);
}

void profile_mark(struct profile *p, enum phase phase)
{
	double clock = p->clock, busy = p->busy;

	if (!p->on)
		return;
	profile_start(p);
	p->worked += p->busy - busy;
	p->seconds[phase] += phase == PHASE_READ || phase == PHASE_WAIT ? p->clock - clock : p->busy - busy;
}

void profile_add(struct profile *sum, const struct profile *p)
{
	for (int i = 0; i < PHASES; i++)
		sum->seconds[i] += p->seconds[i];
	sum->worked += p->worked;
}

double profile_program(const struct profile *p)
{
	return p->on ? processor_time(CLOCK_PROCESS_CPUTIME_ID) : 0;
}

void profile_rest(struct profile *sum, double since, enum phase phase)
{
	double rest = profile_program(sum) - since - sum->worked;

	sum->seconds[phase] += MAX(rest, 0);
}

void profile_note(const struct profile *p)
{
	double work = 0;

	for (int i = 0; i < PHASE_WAIT; i++)
		work += p->seconds[i];
	for (int i = 0; i < PHASE_WAIT; i++)
		note("%-10s %9.3f s %5.1f %%", phase_names[i], p->seconds[i], 100 * p->seconds[i] / MAX(work, 1e-9));
	note("work       %9.3f s of all threads; %s %.3f s", work, phase_names[PHASE_WAIT], p->seconds[PHASE_WAIT]);
}
