/*
 * monitor.h - notices when a run collapses
 *
 * Unit embeddings of dimension dim that point everywhere alike have a feature std (unit.h, column_std) of 1/sqrt(dim); all equal, 0.
 * An untrained network starts low and climbs. The rule: the std stays below COLLAPSE_SHARE of 1/sqrt(dim) for COLLAPSE_STEPS steps
 * in a row and is no larger at the end of them than at their beginning. Said once. Counting starts anew after a resume, so
 * that nothing of it belongs to the state of a run.
 *
 *	struct monitor m = { 0 };
 *	if (monitor_collapsing(&m, objective_scalar(o, "std"), 128))
 *		note("...");
 */
#ifndef LOSS_MONITOR_H
#define LOSS_MONITOR_H

#include <stdbool.h>

#define COLLAPSE_SHARE 0.1
#define COLLAPSE_STEPS 25

struct monitor {
	int low;          /* steps in a row so far */
	double first;     /* std of the first of them */
	bool said;
};

/* True at the step that completes the first such row. */
bool monitor_collapsing(struct monitor *m, double std, int dim);

#endif
