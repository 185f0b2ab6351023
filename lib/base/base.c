#include "lib/base/base.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#define CACHE_LINE ((size_t)64)
#define LARGE_PAGE ((size_t)2 << 20)

const char *argv0 = "sprat";
int verbosity;

static _Thread_local char sentence[1024];
static _Thread_local int sentence_code = EXIT_FAIL;

static void compose(char *dst, size_t size, const char *fmt, va_list ap)
{
	int error = errno;
	char text[1024];
	size_t n = strlen(fmt);

	vsnprintf(text, sizeof(text), fmt, ap);
	if (n > 0 && fmt[n - 1] == ':')
		snprintf(dst, size, "%.800s %s", text, strerror(error));
	else
		snprintf(dst, size, "%s", text);
	for (char *p = dst; *p; p++) /* a hostile file name must not draw on the terminal or break the line */
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
}

int fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	compose(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	sentence_code = EXIT_FAIL;
	return -1;
}

int fail_code(int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	compose(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	sentence_code = code;
	return -1;
}

const char *why(void)
{
	return sentence;
}

int why_code(void)
{
	return sentence_code;
}

static void say(const char *prefix, const char *text)
{
	char line[1400];
	int n = snprintf(line, sizeof(line), "%s%s: %s\n", prefix, argv0, text);

	write_all(STDERR_FILENO, line, MIN((size_t)n, sizeof(line) - 1));
}

void complain(const char *text)
{
	say("", text);
}

void die(int code, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	compose(text, sizeof(text), fmt, ap);
	va_end(ap);
	say("", text);
	exit(code);
}

void note(const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (verbosity < 0)
		return;
	va_start(ap, fmt);
	compose(text, sizeof(text), fmt, ap);
	va_end(ap);
	say("# ", text);
}

void bug_at(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: bug at %s:%d: ", argv0, file, line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

/* --- memory --- */

static void *held(void *p, size_t size)
{
	if (!p)
		die(EXIT_FAIL, "out of memory asking for %zu bytes: use a smaller batch, image size or --cache", size);
	return p;
}

void *xmalloc(size_t size)
{
	return held(malloc(size ? size : 1), size);
}

void *xcalloc(size_t n, size_t size)
{
	return held(calloc(n ? n : 1, size ? size : 1), n * size);
}

void *xrealloc(void *p, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes))
		held(NULL, SIZE_MAX);
	return held(realloc(p, bytes ? bytes : 1), bytes);
}

char *xstrdup(const char *s)
{
	return held(strdup(s), strlen(s));
}

char *xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	return held(n < 0 ? NULL : s, 0);
}

/* Large blocks ask for large pages before they are touched: streaming through small ones is spent on address translation. */
void *xaligned(size_t size)
{
	size_t unit = size >= 2 * LARGE_PAGE ? LARGE_PAGE : CACHE_LINE, padded = MAX(unit, (size + unit - 1) / unit * unit);
	void *p = held(aligned_alloc(unit, padded), size);

	if (unit == LARGE_PAGE)
		madvise(p, padded, MADV_HUGEPAGE);
	return memset(p, 0, padded);
}

/* Giving a large record's memory back to the system and faulting it in again for the next one costs many times what moving its
 * bytes costs (64 MB: 0.2 against 5 GB/s on a virtual machine). A thread that receives shares the main heap, since one of its own
 * cannot hold blocks beyond 64 MB. */
void memory_keep(bool receives)
{
#ifdef M_ARENA_MAX
	mallopt(M_MMAP_MAX, 0);
	mallopt(M_TRIM_THRESHOLD, -1);
	if (receives)
		mallopt(M_ARENA_MAX, 1);
#else
	(void)receives;
#endif
}

/* --- text --- */

int format(char *dst, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(dst, size, fmt, ap);
	va_end(ap);
	return n < 0 || (size_t)n >= size ? -1 : 0;
}

int parse_int(const char *s, int64_t *out)
{
	char *end;
	long long v;

	if ((*s < '0' || *s > '9') && *s != '-' && *s != '+')
		return -1;
	errno = 0;
	v = strtoll(s, &end, 10);
	if (errno || end == s || *end)
		return -1;
	*out = v;
	return 0;
}

int parse_real(const char *s, double *out)
{
	char *end;
	double v;

	if (!strchr("0123456789+-.", *s) || !*s || strpbrk(s, "xXpP"))
		return -1;
	errno = 0;
	v = strtod(s, &end);
	if ((errno && v != 0) || end == s || *end || !(v - v == 0))
		return -1;
	*out = v;
	return 0;
}

int write_all(int fd, const void *data, size_t size)
{
	const char *p = data;

	while (size > 0) {
		ssize_t n = write(fd, p, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		p += n;
		size -= n;
	}
	return 0;
}

uint64_t hash_bytes(uint64_t h, const void *data, size_t size)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < size; i++)
		h = (h ^ p[i]) * 0x100000001b3ULL;
	return h;
}

#ifdef TEST_POINTS
void test_point(const char *name)
{
	static int passed;
	const char *wanted = getenv("SPRAT_STOP_AT");
	size_t n = strlen(name);
	int64_t k = 1;

	if (!wanted || strncmp(wanted, name, n) != 0 || (wanted[n] && wanted[n] != ':'))
		return;
	if (wanted[n] == ':' && parse_int(wanted + n + 1, &k) < 0)
		bug("SPRAT_STOP_AT='%s' is not NAME:K", wanted);
	if (++passed == k)
		raise(SIGKILL);
}
#endif
