#include "lib/loss/monitor.h"

#include <math.h>

bool monitor_collapsing(struct monitor *m, double std, int dim)
{
	if (!(std < COLLAPSE_SHARE / sqrt(dim))) {
		m->low = 0;
		return false;
	}
	if (m->low++ == 0)
		m->first = std;
	if (m->low < COLLAPSE_STEPS || m->said)
		return false;
	m->said = std <= m->first;
	m->low = 0;
	return m->said;
}
