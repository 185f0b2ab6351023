#include "lib/loss/monitor.h"

#include <math.h>

/* After the row is complete the count stands above it: nothing is said twice. */
bool monitor_collapsing(struct monitor *m, double std, int dim)
{
	if (m->low < COLLAPSE_STEPS)
		m->low = std < COLLAPSE_SHARE / sqrt(dim) ? m->low + 1 : 0;
	if (m->low != COLLAPSE_STEPS)
		return false;
	m->low++;
	return true;
}
