#include "lib/stream/fate.h"

#include "lib/base/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

enum {
	HINT_SECONDS = 1,      /* from a signal to the hint that another one would help; later where the trained stage spoke */
	LATE_HINT_SECONDS = 5,
};

static volatile sig_atomic_t signal_number;
static int signal_pipe[2] = { -1, -1 };

/* The first signal asks, the second leaves at once. */
static void on_signal(int n)
{
	int error = errno;
	ssize_t written;

	if (signal_number)
		_exit(128 + n);
	signal_number = n;
	written = write(signal_pipe[1], "", 1); /* a full pipe tells as much */
	(void)written;
	errno = error;
}

/* On a stack of its own: oneDNN's products keep data below the stack pointer, where a handler would write over it. */
int fate_signals(void)
{
	static char room[1 << 16];
	const stack_t stack = { .ss_sp = room, .ss_size = sizeof(room) };
	struct sigaction act = { .sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK };

	if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		die(EXIT_FAIL, "unable to make a pipe: %s", strerror(errno));
	sigaltstack(&stack, NULL);
	sigemptyset(&act.sa_mask);
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	if (signal(SIGHUP, SIG_IGN) != SIG_IGN) /* nohup keeps its word */
		sigaction(SIGHUP, &act, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signal_pipe[0];
}

int fate_signal(void)
{
	return signal_number;
}

int stage_signal(const struct stage *s)
{
	return signal_number ? signal_number : s->signal_seen;
}

int fate_pass(struct stage *s, int code, const char *sentence)
{
	s->passed = true;
	return fail_code(code, "%s", sentence);
}

int fate_gone(struct stage *s, bool silent, const char *sentence)
{
	if (silent || signal_number)
		return fate_pass(s, signal_number ? 128 + signal_number : EXIT_GONE, sentence);
	return fail_code(EXIT_GONE, "%s", sentence);
}

bool fate_overdue(struct stage *s, double seconds, int *timeout)
{
	double left;

	if (!signal_number)
		return false;
	if (s->signal_at == 0)
		s->signal_at = now();
	left = s->signal_at + seconds - now();
	if (left > 0 && (*timeout < 0 || left * 1000 < *timeout))
		*timeout = (int)(left * 1000) + 1;
	return left <= 0;
}

void fate_hint(struct stage *s, int *timeout)
{
	if (s->hinted || !fate_overdue(s, s->trained ? HINT_SECONDS : LATE_HINT_SECONDS, timeout))
		return;
	s->hinted = true;
	progress_close();
	note(s->trained ? "ends after this step; once more: at once, without saving it"
			: "ends with its neighbours; once more: at once");
}
