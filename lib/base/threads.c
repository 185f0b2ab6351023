#include "lib/base/threads.h"
#include "lib/base/base.h"

#include <limits.h>
#include <omp.h>
#include <unistd.h>

void threads_passive(char **argv)
{
	char path[PATH_MAX];
	ssize_t n;

	if (getenv("OMP_WAIT_POLICY"))
		return;
	/* libgomp has read its environment already; without /proc it only waits less well. By its own path, so that ps shows its
	 * name. */
	n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	if (n < 0)
		return;
	path[n] = '\0';
	setenv("OMP_WAIT_POLICY", "passive", 1);
	execv(path, argv);
}

int threads_set(int n)
{
	if (n <= 0)
		n = omp_get_num_procs();
	omp_set_dynamic(0);
	omp_set_num_threads(n);
	return n;
}
