/* The ground floor: sentences and exit codes, memory, number parsers. */
#include "lib/base/base.h"
#include "tests/check.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- sentences --- */

static void test_sentences(void)
{
	int r = fail("unable to open '%s': %d", "a\nb\x1b[31m", 3);

	check("fail gives -1 and keeps the sentence", r == -1 && strstr(why(), "unable to open '") && why_code() == EXIT_FAIL,
	      "%d \"%s\"", r, why());
	check("a hostile name cannot break the line", !strcmp(why(), "unable to open 'a?b?[31m': 3"), "\"%s\"", why());
	errno = ENOENT;
	fail("unable to open '%s':", "x");
	check("a final colon adds the system's word", !strcmp(why(), "unable to open 'x': No such file or directory"), "\"%s\"",
	      why());
	fail_code(EXIT_USAGE, "%s; more", why());
	check("a sentence may quote the last one", strstr(why(), "directory; more") && why_code() == EXIT_USAGE, "%d \"%s\"",
	      why_code(), why());
	fail("%02000d:", 7);
	check("a long sentence is cut", strlen(why()) > 500 && strlen(why()) < 1024, "%zu", strlen(why()));
}

static void test_threads(void)
{
	bool own = true;

	fail_code(EXIT_GONE, "the first thread's");
#pragma omp parallel num_threads(4) reduction(&& : own)
	{
		char text[32];
		unsigned long id = (unsigned long)(uintptr_t)text;

		for (int i = 0; i < 1000; i++) {
			snprintf(text, sizeof(text), "%lx %d", id, i);
			fail("%s", text);
			own = own && !strcmp(why(), text);
		}
	}
	check("every thread has its own sentence", own, "they mix");
}

struct output {
	char text[4096];
	int status;
};

/* Runs f in a child and keeps what it writes to stderr. */
static struct output child_of(void (*f)(void))
{
	struct output o = { .status = -1 };
	int ends[2], status;
	size_t n = 0;
	ssize_t r;
	pid_t child;

	fflush(stdout);
	if (pipe(ends) < 0 || (child = fork()) < 0)
		bug("unable to fork");
	if (child == 0) {
		dup2(ends[1], STDERR_FILENO);
		f();
		_exit(0);
	}
	close(ends[1]);
	while (n < sizeof(o.text) - 1 && (r = read(ends[0], o.text + n, sizeof(o.text) - 1 - n)) > 0)
		n += r;
	close(ends[0]);
	waitpid(child, &status, 0);
	o.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return o;
}

static void do_die(void)
{
	argv0 = "encode";
	die(EXIT_GONE, "unable to reach '%s'", "upstream");
}

static void do_note(void)
{
	argv0 = "encode";
	note("going on from step %d", 5);
	verbosity = -1;
	note("never seen");
}

static void do_bug(void)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	bug("impossible: %d", 4);
}

static void do_exhaust(void)
{
	free(xrealloc(NULL, SIZE_MAX / 2, 4));
}

static void test_endings(void)
{
	struct output o = child_of(do_die);

	check("die says one line and exits", o.status == EXIT_GONE && !strcmp(o.text, "encode: unable to reach 'upstream'\n"),
	      "%d \"%s\"", o.status, o.text);
	o = child_of(do_note);
	check("note is a comment, silent with -q", o.status == 0 && !strcmp(o.text, "# encode: going on from step 5\n"), "\"%s\"",
	      o.text);
	o = child_of(do_bug);
	check("a bug aborts with file and line",
	      o.status == 128 + SIGABRT && strstr(o.text, "test_base.c:") && strstr(o.text, "impossible: 4"), "%d \"%s\"",
	      o.status, o.text);
	o = child_of(do_exhaust);
	check("exhausted memory is said and ends it", o.status == EXIT_FAIL && strstr(o.text, "out of memory"), "%d \"%s\"",
	      o.status, o.text);
}

static void test_memory(void)
{
	uint8_t *p = xaligned(100), *none = xaligned(0);
	bool zero = true;

	for (int i = 0; i < 128; i++)
		zero &= p[i] == 0;
	check("xaligned is zeroed to the end of its last line", zero && (uintptr_t)p % 64 == 0, "it is not");
	check("nothing at all may be allocated", none != NULL && xmalloc(0) != NULL && xcalloc(0, 8) != NULL, "NULL");
	free(p);
	free(none);
}

/* --- numbers --- */

static const char *named(const char *what, const char *text)
{
	static char name[64];

	snprintf(name, sizeof(name), "%s '%s'", what, strchr(text, '\n') ? "1 and a newline" : text);
	return name;
}

static void test_int(void)
{
	static const struct {
		const char *text;
		int64_t value;
	} good[] = { { "0", 0 },
		     { "-0", 0 },
		     { "+5", 5 },
		     { "007", 7 },
		     { "-12", -12 },
		     { "9223372036854775807", INT64_MAX },
		     { "-9223372036854775808", INT64_MIN } };
	static const char *const bad[] = {
		"",    " 1", "1 ", "1.0", "0x1", "1e3", "-", "+-1", "--1", "9223372036854775808", "-9223372036854775809",
		"one", "1\n"
	};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		int64_t v = 99;

		check(named("parse_int reads", good[i].text), parse_int(good[i].text, &v) == 0 && v == good[i].value,
		      "'%s' as %lld", good[i].text, (long long)v);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		int64_t v = 99;

		check(named("parse_int refuses", bad[i]), parse_int(bad[i], &v) == -1 && v == 99, "'%s' as %lld", bad[i],
		      (long long)v);
	}
}

static void test_real(void)
{
	static const struct {
		const char *text;
		double value;
	} good[] = { { "0", 0 },      { "-1.5", -1.5 }, { "+.5", 0.5 },  { "5.", 5 },
		     { "1e3", 1000 }, { "5e-4", 5e-4 }, { "1E+2", 100 }, { "1e-400", 0 } };
	static const char *const bad[] = { "",       " 1",   "1 ",  "nan", "-nan", "inf", "+inf", "infinity", "1e400",
					   "-1e400", "0x10", "1p3", "1,5", ".",    "e5",  "1e",   "--1",      "1.2.3" };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		double v = 99;

		check(named("parse_real reads", good[i].text), parse_real(good[i].text, &v) == 0 && v == good[i].value,
		      "'%s' as %g", good[i].text, v);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		double v = 99;

		check(named("parse_real refuses", bad[i]), parse_real(bad[i], &v) == -1 && v == 99, "'%s' as %g", bad[i], v);
	}
}

static void test_text(void)
{
	char dst[6];

	check("format fits", format(dst, sizeof(dst), "%s", "12345") == 0 && !strcmp(dst, "12345"), "'%s'", dst);
	check("format reports truncation", format(dst, sizeof(dst), "%s", "123456") == -1 && !strcmp(dst, "12345"), "'%s'", dst);
	check("FNV-1a of the empty text", hash_bytes(HASH_INIT, "", 0) == 0xcbf29ce484222325ULL, "it is another");
	check("FNV-1a of a", hash_bytes(HASH_INIT, "a", 1) == 0xaf63dc4c8601ec8cULL, "it is another");
	check("FNV-1a of foobar in two pieces", hash_bytes(hash_bytes(HASH_INIT, "foo", 3), "bar", 3) == 0x85944171f73967e8ULL,
	      "it is another");
}

int main(void)
{
	test_sentences();
	test_threads();
	test_endings();
	test_memory();
	test_int();
	test_real();
	test_text();
	return check_done();
}
