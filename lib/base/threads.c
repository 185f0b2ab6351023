#include "lib/base/threads.h"
#include "lib/base/base.h"

#include <omp.h>
#include <unistd.h>

void threads_passive(char **argv)
{
	if (getenv("OMP_WAIT_POLICY"))
		return;
	setenv("OMP_WAIT_POLICY", "passive", 1);
	execv("/proc/self/exe", argv); /* libgomp has read its environment already; without /proc it only waits less well */
}

int threads_set(int n)
{
	if (n <= 0)
		n = omp_get_num_procs();
	omp_set_dynamic(0);
	omp_set_num_threads(n);
	return n;
}
