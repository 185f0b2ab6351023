/*
 * base.h - what every file of sprat leans on: errors, exit codes, memory, small text helpers (whole files: files.h)
 *
 * Three kinds of trouble, three idioms:
 *   a programmer's mistake       bug("...") aborts with file and line
 *   outside data gone wrong      return fail("...") up to main, which says it once and exits
 *   memory exhausted             the x* allocators end the program; nothing useful can follow
 *
 * A sentence names its subject in single quotes, then the cause, then what to try; no capital, no
 * full stop, no program name (main adds it). fail() keeps the sentence for the calling thread:
 *
 *	if (read_header(path) < 0)
 *		return -1;                                  the sentence is already kept
 *	if (fd < 0)
 *		return fail("unable to open '%s':", path);  a final ':' adds strerror(errno)
 *	...
 *	die(EXIT_FAIL, "%s", why());                        only under cmd/
 */
#ifndef BASE_H
#define BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPRAT_VERSION "0.1.0"
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Exit codes of all four programs; 128+n after signal n. */
enum {
	EXIT_OK = 0,      /* done */
	EXIT_FAIL = 1,    /* failure: data, disk, a refused record */
	EXIT_USAGE = 2,   /* the command line cannot be carried out */
	EXIT_GONE = 3,    /* a neighbour vanished without a word; the same line again resumes */
};

/* Name of the running program, first word of its message. Set once by main. */
extern const char *argv0;

/* --- errors --- */

/* Keeps one sentence for this thread and returns -1. A final ':' appends ": strerror(errno)". */
int fail(const char *fmt, ...) PRINTF(1, 2);
/* As fail(), and also keeps the exit code that main should use (fail() itself keeps EXIT_FAIL). */
int fail_code(int code, const char *fmt, ...) PRINTF(2, 3);
/* The sentence and the exit code kept last in this thread. */
const char *why(void);
int why_code(void);

/* complain() of a formatted sentence, then exit. Only for cmd/. */
_Noreturn void die(int code, const char *fmt, ...) PRINTF(2, 3);
/* Prints "argv0: sentence" as one write(2) to stderr. Only for cmd/ and the last word of a stage. */
void complain(const char *sentence);
/* Prints "# argv0: sentence" unless quiet: news that is no failure. */
void note(const char *fmt, ...) PRINTF(1, 2);
/* -1 silences note() and the progress line, 0 is normal, 1 and more are for debugging. */
extern int verbosity;

#define bug(...) bug_at(__FILE__, __LINE__, __VA_ARGS__)
_Noreturn void bug_at(const char *file, int line, const char *fmt, ...) PRINTF(3, 4);

/* --- memory: never NULL; size 0 gives a pointer that may be freed --- */
void *xmalloc(size_t size);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n, size_t size);
char *xstrdup(const char *s);
char *xasprintf(const char *fmt, ...) PRINTF(1, 2);
/* 64-byte aligned, zeroed, freed with free(). For everything SIMD code reads. */
void *xaligned(size_t size);
/* Keeps freed memory for the next large record. receives: another thread, of ZeroMQ, will allocate it. Before the first thread,
 * by main. */
void memory_keep(bool receives);

/* --- text --- */
/* snprintf that reports truncation: 0, or -1 when dst is too small (dst then holds what fits). */
int format(char *dst, size_t size, const char *fmt, ...) PRINTF(3, 4);
/* Whole-string number parsers: 0, or -1 leaving *out alone. Accept nothing but the number. */
int parse_int(const char *s, int64_t *out);
int parse_real(const char *s, double *out);

/* write(2) until all is out. */
int write_all(int fd, const void *data, size_t size);

/* 64-bit FNV-1a, for fingerprints of names and facts (not for security). Start with HASH_INIT. */
#define HASH_INIT 0xcbf29ce484222325ULL
uint64_t hash_bytes(uint64_t h, const void *data, size_t size);

/* A place where a test build can stop a program: with SPRAT_STOP_AT=NAME or NAME:K in the environment the
 * K-th passing of that point kills the process with SIGKILL. Nothing in other builds. */
#ifdef TEST_POINTS
void test_point(const char *name);
#else
#define test_point(name) ((void)0)
#endif

#endif
