#include "lib/base/progress.h"

#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 512, COLUMNS = 80 };
#define GAP "  "

static struct {
	bool drawn;                    /* the terminal's line holds something */
	double last;                   /* when it was drawn */
	int64_t total, first;          /* what the pace is measured over: since first was done, ... */
	double since;                  /* ... at this moment */
} line = { .last = -1e9 };

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

/* Asked for each time: windows change their size. */
static size_t columns(void)
{
	struct winsize w = { 0 };

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : COLUMNS;
}

/* "50 s left", "12 min left", "3 h 05 min left" */
static void say_left(char *text, size_t size, double seconds)
{
	int64_t s = (int64_t)(seconds + 0.5), minutes = (s + 30) / 60;

	if (s < 100)
		snprintf(text, size, "%d s left", (int)s);
	else if (minutes < 100)
		snprintf(text, size, "%d min left", (int)minutes);
	else
		snprintf(text, size, "%lld h %02d min left", (long long)minutes / 60, (int)(minutes % 60));
}

/* Bytes of a line that a terminal of so many columns has room for: its first parts, or of the first part what fits. */
static size_t fitting(const char *text, size_t room)
{
	size_t n = strlen(text), fits = 0;

	if (n <= room)
		return n;
	for (const char *gap = strstr(text, GAP); gap && gap - text <= room; gap = strstr(gap + strlen(GAP), GAP))
		fits = gap - text;
	return fits ? fits : room;
}

static void start_pace(int64_t done, int64_t total, double t)
{
	if (total == line.total && done >= line.first)
		return;
	line.total = total;
	line.first = done;
	line.since = t;
}

/* Puts the time that is left behind the line's first part; before there is a pace, nothing. */
static void insert_left(char *text, size_t size, int64_t done, double t)
{
	const char *gap = strstr(text, GAP);
	size_t n = strlen(text), first = gap ? gap - text : n, extra;
	double pace = (t - line.since) / (double)(done - line.first); /* read only where something is done */
	char left[40] = GAP;

	if (done <= line.first || done >= line.total)
		return;
	say_left(left + strlen(GAP), sizeof(left) - strlen(GAP), pace * (double)(line.total - done));
	extra = strlen(left);
	if (n + extra + 1 > size)
		return;
	memmove(text + first + extra, text + first, n - first + 1);
	memcpy(text + first, left, extra);
}

void progress_show(int64_t done, int64_t total, const char *fmt, ...)
{
	double t = now();
	char text[LINE], out[LINE + 8];
	va_list ap;
	int n;

	start_pace(done, total, t);
	if (verbosity < 0 || (done != total && t - line.last < (terminal() ? 0.2 : 10)))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	insert_left(text, sizeof(text), done, t);
	line.last = t;
	if (terminal()) /* the last column stays free: some terminals go on to the next line there */
		n = snprintf(out, sizeof(out), "\r%.*s\033[K", (int)fitting(text, columns() - 1), text);
	else
		n = snprintf(out, sizeof(out), "%s\n", text);
	write_all(STDERR_FILENO, out, n);
	line.drawn = terminal();
}

void progress_close(void)
{
	if (line.drawn)
		write_all(STDERR_FILENO, "\n", 1);
	line.drawn = false;
}
