/*
 * late.h - libraries that are opened when the first file asks for them: programs are built and run where they are not installed
 *
 * What is called of a library is a list, LIBRARY(X), with a row X(prefix, type, name, arguments) a function; the names of all
 * begin with the prefix. Rows are written from the library's public header of a version that its later ones keep compatible,
 * which their soname says.
 *
 *	#define SAMPLE(X) X(sample_, void *, open, (const char *path)) X(sample_, void, shut, (void *s))
 *	static struct { SAMPLE(LATE_CALL) } sample;
 *	static const char *const names[] = { SAMPLE(LATE_NAME) };
 *	static struct late library = LATE_INIT("libsample1", sample, names, NULL, "libsample.so.1");
 *
 *	if (late_open(&library) < 0)                   not here: the sentence says so, and what to install
 *		return -1;
 *	s = sample.open("file");
 *
 * From several threads at once; a library stays open until the program ends.
 */
#ifndef IMAGE_LATE_H
#define IMAGE_LATE_H

#include "lib/base/base.h"

#define LATE_CALL(prefix, type, name, arguments) type (*name) arguments;
#define LATE_NAME(prefix, type, name, arguments) #prefix #name,

struct late {
	const char *package;            /* Debian's */
	const char *const *names;       /* of count functions... */
	void *calls;                    /* ...whose addresses go here */
	size_t count;
	void (*begin)(void);            /* called once, when all are there; NULL: nothing */
	const char *files[3];           /* the library's, the best first */
	const char *found;              /* the one that was opened; NULL: none */
	enum { LATE_NEW, LATE_HERE, LATE_MISSING } state;
	char why[256];                  /* it is missing */
};
#define LATE_INIT(package, calls, names, begin, ...) { package, names, &(calls), ARRAY_SIZE(names), begin, { __VA_ARGS__ } }

/* 0: it is open; -1 after fail() with the library and what is wrong with it. */
int late_open(struct late *l);

#endif
