/* life.c - the beginning and the end of a stage */
#include "lib/base/progress.h"
#include "lib/base/threads.h"
#include "lib/stream/answers.h"
#include "lib/stream/downstream.h"
#include "lib/stream/fate.h"
#include "lib/stream/pump.h"
#include "lib/stream/upstream.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

enum { LINGER_MS = 3000 }; /* for last words, to neighbours that are alive */

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
	int signals;

	argv0 = name;
	verbosity = o->verbosity;
	occupy_standard_files();
	signals = fate_signals();
	threads_set((int)o->jobs);
	snprintf(s->name, sizeof(s->name), "%s", name);
	describe_command(s, argc, argv);
	s->options = *o;
	s->patience = o->patience;
	s->links = links_new(s->patience);
	links_watch_signals(s->links, signals);
	return s;
}

/* --- the end --- */

static void say_farewell(struct stage *s, int result, int code, const char *sentence)
{
	struct record *word = record_new(result < 0 ? KIND_FAULT : KIND_CLOSE);

	if (result < 0) {
		record_set_int(word, "code", code);
		record_set_text(word, "sentence", sentence);
		record_set_bool(word, "said", true);
		pump_client(s);
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
	if (result >= 0 && fate_signal() && code == 0)
		code = 128 + fate_signal();
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
