/* The ground floor: sentences and exit codes, number parsers, files that appear whole or not at all. */
#include "lib/base/files.h"
#include "tests/check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/sprat-test-XXXXXX";

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

/* --- files --- */

struct content {
	char fill;
	size_t size;
	bool failing, dying;
};

static int emit_content(int fd, void *arg)
{
	const struct content *c = arg;
	char block[4096];

	memset(block, c->fill, sizeof(block));
	for (size_t done = 0; done < c->size; done += sizeof(block)) {
		if (c->dying && done >= c->size / 2)
			raise(SIGKILL);
		if (write_all(fd, block, MIN(sizeof(block), c->size - done)) < 0)
			return fail("unable to write:");
	}
	return c->failing ? fail("no more to say") : 0;
}

/* The letter a file is made of, '?' when it is mixed or of another size; 0 when it cannot be read. */
static char letter_of(const char *path, size_t size)
{
	char *data, letter;
	size_t n;

	if (read_file(path, 1 << 28, (void **)&data, &n) < 0)
		return 0;
	letter = n == size ? data[0] : '?';
	for (size_t i = 0; i < n; i++)
		if (data[i] != letter)
			letter = '?';
	free(data);
	return letter;
}

static int write_letter(const char *path, char letter, size_t size)
{
	return write_whole(path, emit_content, &(struct content){ .fill = letter, .size = size });
}

static bool left_over(const char *path)
{
	char temporary[PATH_MAX];
	struct stat st;

	snprintf(temporary, sizeof(temporary), "%s.tmp", path);
	return stat(temporary, &st) == 0;
}

static void test_failures(const char *path)
{
	struct rlimit old, small = { 20000, RLIM_INFINITY };
	char missing[PATH_MAX];
	int r;

	r = write_whole(path, emit_content, &(struct content){ .fill = 'b', .size = 50000, .failing = true });
	check("a writer that gives up leaves the old file", r == -1 && letter_of(path, 50000) == 'a' && !left_over(path),
	      "%d \"%s\"", r, why());
	check("the writer's sentence is kept", !strcmp(why(), "no more to say"), "\"%s\"", why());
	getrlimit(RLIMIT_FSIZE, &old);
	small.rlim_max = old.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &small);
	r = write_letter(path, 'b', 50000);
	setrlimit(RLIMIT_FSIZE, &old);
	check("a full disk leaves the old file", r == -1 && letter_of(path, 50000) == 'a' && !left_over(path), "%d \"%s\"", r,
	      why());
	snprintf(missing, sizeof(missing), "%s/none/file", folder);
	check("a missing folder is named",
	      write_letter(missing, 'b', 10) == -1 && strstr(why(), missing) && strstr(why(), "No such file"), "\"%s\"", why());
	snprintf(missing, sizeof(missing), "%s/folder", folder);
	mkdir(missing, 0700);
	check("a folder is not replaced", write_letter(missing, 'b', 10) == -1 && strstr(why(), "rename") && !left_over(missing),
	      "\"%s\"", why());
}

/* Links lead to what is written, and devices stay devices. */
static void test_special(const char *path)
{
	char link[PATH_MAX], pipe_path[PATH_MAX], byte = 0;
	struct stat st;
	int fd, r;

	snprintf(link, sizeof(link), "%s/link", folder);
	symlink("file", link);
	r = write_letter(link, 'e', 100);
	check("a link is followed", r == 0 && lstat(link, &st) == 0 && S_ISLNK(st.st_mode) && letter_of(path, 100) == 'e',
	      "%d \"%s\"", r, why());
	snprintf(pipe_path, sizeof(pipe_path), "%s/pipe", folder);
	mkfifo(pipe_path, 0600);
	fd = open(pipe_path, O_RDWR);
	r = write_letter(pipe_path, 'f', 100);
	check("a pipe is written to",
	      r == 0 && read(fd, &byte, 1) == 1 && byte == 'f' && stat(pipe_path, &st) == 0 && S_ISFIFO(st.st_mode),
	      "%d \"%s\" '%c'", r, why(), byte);
	close(fd);
}

/* What was there is kept, by a writer that is done, and only then. */
static void test_keeping(const char *path)
{
	char kept[PATH_MAX];
	int r;

	snprintf(kept, sizeof(kept), "%s/kept", folder);
	unlink(path);
	r = write_keeping(path, kept, emit_content, &(struct content){ .fill = 'g', .size = 100 });
	check("where nothing was, nothing is kept", r == 0 && letter_of(path, 100) == 'g' && letter_of(kept, 100) == 0,
	      "%d \"%s\"", r, why());
	r = write_keeping(path, kept, emit_content, &(struct content){ .fill = 'h', .size = 100 });
	check("the old file is kept", r == 0 && letter_of(path, 100) == 'h' && letter_of(kept, 100) == 'g', "%d \"%s\"", r,
	      why());
	r = write_keeping(path, kept, emit_content, &(struct content){ .fill = 'i', .size = 100, .failing = true });
	check("a writer that gives up leaves both", r == -1 && letter_of(path, 100) == 'h' && letter_of(kept, 100) == 'g', "%d",
	      r);
	r = write_keeping(path, kept, emit_content, &(struct content){ .fill = 'j', .size = 100 });
	check("what was kept before makes room", r == 0 && letter_of(path, 100) == 'j' && letter_of(kept, 100) == 'h',
	      "%d \"%s\"", r, why());
	write_letter(path, 'a', 50000);
}

static void test_death(const char *path)
{
	pid_t child;
	int status;

	fflush(stdout);
	child = fork();
	if (child == 0)
		_exit(write_whole(path, emit_content, &(struct content){ .fill = 'c', .size = 50000, .dying = true }));
	waitpid(child, &status, 0);
	check("a writer killed half-way leaves the old file", WIFSIGNALED(status) && letter_of(path, 50000) == 'a', "status %d",
	      status);
	check("the next writer is not disturbed by what it left",
	      write_letter(path, 'd', 100) == 0 && letter_of(path, 100) == 'd' && !left_over(path), "\"%s\"", why());
}

/* A reader looks all the time while a file is replaced again and again. */
static void test_readers(const char *path)
{
	enum { SIZE = 1 << 20, TIMES = 40 };
	int mixed = 0, looks = 0;
	pid_t child;

	write_letter(path, 'a', SIZE);
	fflush(stdout);
	child = fork();
	if (child == 0) {
		for (int i = 0; i < TIMES; i++)
			write_letter(path, 'a' + i % 2, SIZE);
		_exit(0);
	}
	for (; waitpid(child, NULL, WNOHANG) == 0; looks++) {
		char letter = letter_of(path, SIZE);

		mixed += letter != 'a' && letter != 'b';
	}
	check("a reader sees the old file or the new one", mixed == 0 && looks > 0, "%d of %d looks saw neither", mixed, looks);
}

static void test_reading(const char *path)
{
	char *data;
	size_t n;
	int r;

	write_letter(path, 'x', 5000);
	r = read_file(path, 5000, (void **)&data, &n);
	check("a file of just the limit is read", r == 0 && n == 5000, "%d \"%s\"", r, why());
	if (r == 0)
		free(data);
	check("one byte more is refused", read_file(path, 4999, (void **)&data, &n) == -1 && strstr(why(), "larger than 4999"),
	      "\"%s\"", why());
	check("a folder is refused", read_file(folder, 100, (void **)&data, &n) == -1 && strstr(why(), "it is a folder"),
	      "\"%s\"", why());
	check("a missing file is refused",
	      read_file("/nowhere/x", 100, (void **)&data, &n) == -1 && strstr(why(), "'/nowhere/x'"), "\"%s\"", why());
	r = read_file("/proc/self/status", 1 << 20, (void **)&data, &n);
	check("a file that does not tell its size is read", r == 0 && n > 100, "%d", r);
	if (r == 0)
		free(data);
	check("an endless file is refused", read_file("/dev/zero", 100000, (void **)&data, &n) == -1, "it was read");
	r = read_file("/dev/null", 10, (void **)&data, &n);
	check("an empty file is read", r == 0 && n == 0, "%d", r);
	if (r == 0)
		free(data);
}

int main(void)
{
	char path[PATH_MAX];

	if (!mkdtemp(folder))
		bug("unable to make a folder");
	snprintf(path, sizeof(path), "%s/file", folder);
	test_sentences();
	test_threads();
	test_endings();
	test_memory();
	test_int();
	test_real();
	test_text();
	check("a file appears", write_letter(path, 'a', 50000) == 0 && letter_of(path, 50000) == 'a' && !left_over(path),
	      "\"%s\"", why());
	test_failures(path);
	test_keeping(path);
	test_death(path);
	test_special(path);
	test_readers(path);
	test_reading(path);
	return check_done() | (system(xasprintf("rm -rf '%s'", folder)) != 0);
}
