/*
 * probe.h - what can be asked of frozen features: a table of rows
 *
 * A probe reads the samples of one pass and writes one JSON object, on one line. Accuracies are per cent.
 *
 *	struct choice c;
 *	choice_parse(&c, &probe_table, "knn:k=20");
 *	probe_run(&c, &features, stdout);
 *
 * To add a probe: write its function and its row in probe.c. Help and the man-page check read the table.
 */
#ifndef PROBE_PROBE_H
#define PROBE_PROBE_H

#include "lib/base/options.h"
#include "lib/probe/features.h"

struct probe {
	struct entry entry;
	int views;                     /* how many it has a use for */
	bool names;                    /* whether it wants the samples' names, and features as they came, not folded */
	const char *pictures;          /* its parameter that names a file for which small pictures are needed; NULL: none does */
	/* Prints the members of the object behind "on". 0, or -1. */
	int (*run)(const struct choice *c, const struct features *f, FILE *out);
	/* Refuses parameters that cannot be right, before any work. NULL: none can be wrong. */
	int (*check)(const struct choice *c);
};
extern const struct table probe_table;

/* Whether the parameters can be right, before any work. */
int probe_check(const struct choice *c);
/* Whether this choice needs the samples' pictures. */
bool probe_pictures(const struct choice *c);
/* 0, or -1 after fail() with nothing printed. */
int probe_run(const struct choice *c, const struct features *f, FILE *out);

#endif
