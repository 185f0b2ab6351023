#include "lib/base/progress.h"

#include <time.h>
#include <unistd.h>

static double last = -1e9;
static bool drawn;

double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool terminal(void)
{
	static int known = -1;
	const char *term = getenv("TERM");

	if (known < 0)
		known = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
	return known;
}

void progress_show(bool final, const char *fmt, ...)
{
	double t = now();
	char line[512];
	va_list ap;
	int n;

	if (verbosity < 0 || (!final && t - last < (terminal() ? 0.2 : 10)))
		return;
	last = t;
	va_start(ap, fmt);
	n = vsnprintf(line + 1, sizeof(line) - 8, fmt, ap);
	va_end(ap);
	n = MIN(n, (int)sizeof(line) - 9) + 1;
	line[0] = '\r';
	if (terminal())
		n += snprintf(line + n, sizeof(line) - n, "\033[K");
	else
		line[n++] = '\n';
	write_all(STDERR_FILENO, line + !terminal(), n - !terminal());
	drawn = terminal();
}

void progress_close(void)
{
	if (drawn)
		write_all(STDERR_FILENO, "\n", 1);
	drawn = false;
}
