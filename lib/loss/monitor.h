/*
 * monitor.h - notices when a run collapses
 *
 * Unit embeddings of dimension dim that point everywhere alike have a feature std (unit.h, unit_std) of 1/sqrt(dim); all
 * equal, 0. The rule: the std stays below COLLAPSE_SHARE of 1/sqrt(dim) for COLLAPSE_STEPS steps in a row. Healthy runs dip to
 * a twelfth of it in their first steps (small MobileNets) and climb; a collapsed one falls to a hundredth or to 0 and stays. Said
 * once. Counting starts anew after a resume, so that nothing of it belongs to the state of a run.
 *
 *	struct monitor m = { 0 };
 *	if (monitor_collapsing(&m, objective_scalar(o, "std"), 128))
 *		note("...");
 */
#ifndef LOSS_MONITOR_H
#define LOSS_MONITOR_H

#include <stdbool.h>

#define COLLAPSE_SHARE 0.02
#define COLLAPSE_STEPS 20

struct monitor {
	int low;          /* steps in a row so far */
};

/* True at the step that completes the first such row. */
bool monitor_collapsing(struct monitor *m, double std, int dim);

#endif
