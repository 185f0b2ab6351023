/*
 * check.h - what a test program in C needs: named checks, one line each, exit status
 *
 * Every test, in any language, prints lines "ok - NAME", "not ok - NAME: why" or "skip - NAME: why" on stdout and exits 0
 * unless something failed; tests/run adds them up.
 *
 *	int main(void)
 *	{
 *		check("sum of two", sum(1, 2) == 3, "got %d", sum(1, 2));
 *		return check_done();
 *	}
 */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static int check_failures;

__attribute__((format(printf, 3, 4), unused)) static bool check(const char *name, bool good, const char *fmt, ...)
{
	va_list ap;

	printf("%s - %s", good ? "ok" : "not ok", name);
	if (!good) {
		printf(": ");
		va_start(ap, fmt);
		vprintf(fmt, ap);
		va_end(ap);
		check_failures++;
	}
	putchar('\n');
	fflush(stdout);
	return good;
}

__attribute__((unused)) static void check_skip(const char *name, const char *reason)
{
	printf("skip - %s: %s\n", name, reason);
}

__attribute__((unused)) static int check_done(void)
{
	return check_failures ? 1 : 0;
}

#endif
