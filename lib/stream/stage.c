#include "lib/stream/stage_internal.h"

#include "lib/base/progress.h"
#include "lib/base/threads.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

enum {
	LINGER_MS = 3000, /* for last words, to neighbours that are alive */
	HINT_SECONDS = 1, /* from a signal to the hint that another one would help; later where the trained stage has spoken */
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
static void install_signals(void)
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
}

/* Options about place and talk, not about the run: a lineage without them is the same wherever a line runs. */
static const struct {
	const char *word;
	bool takes_value;
} local_options[] = {
	{ "-o", true },		{ "--out", true },	{ "--from", true },    { "--bind", true },    { "--patience", true },
	{ "--insecure", false }, { "-q", false },	{ "--quiet", false },  { "-v", false },	      { "--verbose", false },
	{ "-j", true },		{ "--jobs", true },	{ "--fresh", false },
};

/* How many words of argv, from i on, are a local option. */
static int local_words(char **argv, int i)
{
	for (size_t k = 0; k < ARRAY_SIZE(local_options); k++) {
		size_t n = strlen(local_options[k].word);
		bool is_long = local_options[k].word[1] == '-';

		if (strcmp(argv[i], local_options[k].word) == 0)
			return 1 + local_options[k].takes_value;
		if (local_options[k].takes_value && strncmp(argv[i], local_options[k].word, n) == 0 &&
		    (!is_long || argv[i][n] == '='))
			return 1;
	}
	return 0;
}

static void describe_command(struct stage *s, int argc, char **argv)
{
	char **kept = xcalloc(argc + 1, sizeof(*kept));
	int n = 0;

	for (int i = 0; i < argc;) {
		int local = i > 0 ? local_words(argv, i) : 0;

		if (local == 0)
			kept[n++] = argv[i];
		i += MAX(local, 1);
	}
	options_command_line(s->command, sizeof(s->command), n, kept);
	free(kept);
}

/* A standard file that is closed must not become one of ours. What is written there then fails, as it should. */
static void occupy_standard_files(void)
{
	int fd;

	while ((fd = open("/dev/null", O_RDONLY)) >= 0 && fd <= STDERR_FILENO)
		;
	if (fd >= 0)
		close(fd);
}

struct stage *stage_new(const char *name, const struct stage_options *o, int argc, char **argv)
{
	struct stage *s = xcalloc(1, sizeof(*s));

	argv0 = name;
	verbosity = o->verbosity;
	occupy_standard_files();
	install_signals();
	threads_set((int)o->jobs);
	snprintf(s->name, sizeof(s->name), "%s", name);
	describe_command(s, argc, argv);
	s->options = *o;
	s->patience = o->patience;
	s->links = links_new(s->patience);
	links_watch_signals(s->links, signal_pipe[0]);
	return s;
}

int stage_signal(const struct stage *s)
{
	return signal_number ? signal_number : s->signal_seen;
}

int stage_pass(struct stage *s, int code, const char *sentence)
{
	s->passed = true;
	return fail_code(code, "%s", sentence);
}

int stage_gone(struct stage *s, bool silent, const char *sentence)
{
	if (silent || signal_number)
		return stage_pass(s, signal_number ? 128 + signal_number : EXIT_GONE, sentence);
	return fail_code(EXIT_GONE, "%s", sentence);
}

/* --- one event --- */

/* A failed line must not look like one that is done, whatever a neighbour sends. */
static int exit_code(int64_t code)
{
	return code >= 1 && code <= 255 ? (int)code : EXIT_FAIL;
}

static const char *name_of(struct stage *s, const struct link_event *e)
{
	return e->from_client ? downstream_name(s, e->source) : upstream_name(s, e->source);
}

/* A neighbour's last word. Whoever fails says why, and in the fault that it did; what nobody has said is said here. */
static int take_fault(struct stage *s, struct link_event *e)
{
	const char *sentence = record_text(e->record, "sentence", "it gave no reason");
	int code = exit_code(record_int(e->record, "code", EXIT_FAIL));

	fail_code(code, "the '%s' stage failed: %s", name_of(s, e), sentence);
	if (!record_bool(e->record, "said", false)) {
		progress_close();
		complain(why());
	}
	if (e->from_client)
		downstream_silence(s, e->source);
	else
		upstream_silence(s, e->source);
	if (e->from_client && !s->trained && s->open_clients > 0) { /* its line has ended, the others' go on */
		record_free(e->record);
		return 0;
	}
	stage_pass(s, code, sentence);
	record_free(e->record);
	return -1;
}

static int refuse_surplus(struct stage *s, struct link_event *e)
{
	record_free(e->record);
	fail("refused a stage: %d are served already", CLIENTS_MAX);
	return downstream_refuse(s, e->source);
}

/* A message that breaks the wire's rules, after fail(). */
static int refuse_message(struct stage *s, const struct link_event *e)
{
	fail("%s (sent by the '%s' stage)", why(), name_of(s, e));
	if (!e->from_client)
		return -1;
	return s->clients[e->source].state == CLIENT_DONE ? 0 : downstream_refuse(s, e->source);
}

static int take_record(struct stage *s, struct link_event *e)
{
	int64_t stop = record_int(e->record, "stop", 0);

	if (stop > 0 && stop < 65)
		s->signal_seen = (int)stop;
	if (e->record->kind == KIND_FAULT)
		return take_fault(s, e);
	return e->from_client ? downstream_record(s, e->source, e->record) : upstream_record(s, e->source, e->record);
}

bool stage_overdue(struct stage *s, double seconds, int *timeout)
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

/* A neighbour that hangs would keep us from ending: nothing of the step is lost as long as there is hope for it. */
static void hint_at_second_signal(struct stage *s, int *timeout)
{
	if (s->hinted || !stage_overdue(s, s->trained ? HINT_SECONDS : LATE_HINT_SECONDS, timeout))
		return;
	s->hinted = true;
	progress_close();
	note(s->trained ? "ends after this step; once more: at once, without saving it"
			: "ends with its neighbours; once more: at once");
}

int stage_pump(struct stage *s, int timeout)
{
	struct link_event e;

	hint_at_second_signal(s, &timeout);
	if (links_wait(s->links, timeout, &e) < 0)
		return -1;
	if (e.from_client && e.fresh)
		downstream_meet(s, e.source);
	if (e.from_client && e.source == CLIENTS_MAX)
		return refuse_surplus(s, &e);
	switch (e.type) {
	case LINK_RECORD:
		return take_record(s, &e);
	case LINK_REFUSED:
		return refuse_message(s, &e);
	case LINK_BROKEN:
		upstream_broken(s, e.source);
		return 0;
	case LINK_CLIENTS_GONE:
		downstream_gone(s);
		return 0;
	case LINK_STDIN:
		return upstream_stdin(s);
	case LINK_STDOUT_CLOSED:
		s->stdout_closed = true;
		return 0;
	default:
		return 0;
	}
}

/* --- the end --- */

static void say_farewell(struct stage *s, int result, int code, const char *sentence)
{
	struct record *word = record_new(result < 0 ? KIND_FAULT : KIND_CLOSE);

	if (result < 0) {
		record_set_int(word, "code", code);
		record_set_text(word, "sentence", sentence);
		record_set_bool(word, "said", true);
		downstream_await(s);
		downstream_farewell(s, word);
	}
	upstream_farewell(s, word);
	record_free(word);
}

static void release(struct stage *s)
{
	while (s->want_count-- > 0) {
		struct want *w = &s->wants[s->want_head++ % WANTS_MAX];

		record_free(w->request);
		record_free(w->answer);
	}
	while (s->inbox_count-- > 0)
		record_free(s->inbox[s->inbox_head++ % INBOX_MAX].record);
	record_free(s->answered);
	answers_release(&s->answers);
	record_free(s->schema);
	record_free(s->open);
	links_free(s->links, LINGER_MS);
	free(s);
}

int stage_finish(struct stage *s, int result)
{
	int code = result < 0 ? why_code() : s->end_code;
	char sentence[1024];

	snprintf(sentence, sizeof(sentence), "%s", why());
	if (result >= 0 && signal_number && code == 0)
		code = 128 + signal_number;
	progress_close();
	if (result < 0 && !s->passed)
		complain(sentence);
	say_farewell(s, result, code, sentence);
	if (result < 0 && s->options.serves && !s->ticket_out)
		downstream_fault_ticket(code, sentence);
	release(s);
	if (fflush(stdout) != 0 && result >= 0)
		die(EXIT_FAIL, "unable to write to stdout: %s", strerror(errno));
	return code;
}

int stage_refuse(const char *name, bool serves)
{
	argv0 = name;
	signal(SIGPIPE, SIG_IGN);
	if (serves)
		downstream_fault_ticket(why_code(), why());
	complain(why());
	return why_code();
}
