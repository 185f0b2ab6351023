/*
 * options.h - one table of options a program: parsing, --help, ranges and man-page checks read it
 *
 * Parameterised choices share one syntax, NAME:key=value,key=value. Every table of choices in sprat
 * (losses, recipes, optimisers, schedules, probes, architectures) begins its rows with a struct entry,
 * so that `-a list` prints it and a wrong name or key is answered with the right ones.
 *
 *	static const struct option_row rows[] = {
 *		{ 's', "seed", OPT_INT, offsetof(struct options, seed), 0, 1e15, "N", "seed of every draw", NULL },
 *		{ 'a', "arch", OPT_CHOICE, offsetof(struct options, arch), 0, 0, "ARCH", "network", &arch_table },
 *		OPTIONS_COMMON(struct options, common),
 *		OPTIONS_END
 *	};
 */
#ifndef BASE_OPTIONS_H
#define BASE_OPTIONS_H

#include "lib/base/base.h"

#define PARAMS_MAX 16

/* One key of a parameterised choice. text: default of a text parameter; NULL: it is a number; param_range: it is a number or a
 * range LEAST-MOST, a number x being x to max. */
struct param {
	const char *key;
	double value, min, max;
	const char *help;
	const char *text;
	bool later;             /* came after runs were saved without it: choice_spell() leaves it out at its default */
};

extern const char param_range[];
bool param_is_text(const struct param *p);

/* First member of every table's row. params ends with a row whose key is NULL; NULL: no parameters. */
struct entry {
	const char *name;
	const char *summary;
	const struct param *params;
};

/* A table of rows of stride bytes, each beginning with struct entry. what: "loss", "recipe", ... */
struct table {
	const char *what;
	const void *rows;
	int count;
	size_t stride;
};
#define TABLE(what, rows) { what, rows, ARRAY_SIZE(rows), sizeof((rows)[0]) }

/* Row i of a table; the row called name, or NULL. */
const struct entry *table_row(const struct table *t, int i);
const struct entry *table_find(const struct table *t, const char *name);
/* Prints names, summaries, parameters with their defaults, and what the parameters mean, to stdout: the value "list". */
void table_print(const struct table *t);

/* A parsed choice: the row, its parameters (defaults filled in) and the text it was parsed from. */
struct choice {
	const struct entry *entry;
	double value[PARAMS_MAX], most[PARAMS_MAX];   /* most: where a range ends that begins at value */
	const char *text[PARAMS_MAX];
	bool given[PARAMS_MAX];
	char spelling[256];
};

/* Parses NAME[:k=v,...] (copied). Fails with EXIT_USAGE, naming the valid names or keys. */
int choice_parse(struct choice *c, const struct table *t, const char *spelling);
/* Changes parameters of a choice by key=value,key=value; its spelling stays. Fails as choice_parse() does. */
int choice_change(struct choice *c, const struct table *t, const char *changes);
/* Value of a parameter by key; a key the row does not have is a bug. */
double choice_value(const struct choice *c, const char *key);
const char *choice_text(const struct choice *c, const char *key);
/* The choice with every parameter written out, defaults too (but for later ones), into dst (returned): equal choices give equal
 * texts. */
const char *choice_spell(const struct choice *c, char *dst, size_t size);

enum option_type {
	OPT_FLAG,    /* bool */
	OPT_INT,     /* int64_t, range min..max */
	OPT_REAL,    /* double, range min..max */
	OPT_TEXT,    /* const char * */
	OPT_LIST,    /* struct option_list, repeatable */
	OPT_CHOICE,  /* struct choice; the default is parsed from the choice's spelling when entry is NULL */
	OPT_COUNT_UP,   /* int, +1 each time */
	OPT_COUNT_DOWN, /* int, -1 each time */
};

struct option_list {
	const char *items[64];
	int count;
};

struct option_row {
	char letter;             /* 0: long name only */
	const char *name;
	enum option_type type;
	size_t offset;           /* of the member in the program's struct of options */
	double min, max;
	const char *arg;         /* what --help calls the value; NULL for flags */
	const char *help;
	const struct table *table;
};
#define OPTIONS_END { 0, NULL, OPT_FLAG, 0, 0, 0, NULL, NULL, NULL }

/* What --help and the usage error print around the table. */
struct manual {
	const char *name;        /* "augment" */
	const char *usage;       /* "[OPTION]... DATA..." */
	const char *summary;     /* one sentence */
	const char *tail;        /* examples; may be NULL */
	const struct option_row *rows;
};

/* Prints --help to stdout; options: the defaults. Its lines and table_print()'s are as wide as the terminal, else 80 columns. */
void manual_print(const struct manual *m, const void *options);

/*
 * Fills options (already holding the defaults) from argv. Returns the index of the first operand in argv, which is
 * permuted so that operands come last. --help, --version and the value "list" of a choice print to stdout and exit 0;
 * misuse returns -1 with EXIT_USAGE kept.
 */
int options_parse(const struct manual *m, void *options, int argc, char **argv);

/* argv as one line, quoted where a shell needs it; into dst, cut with "..." when it does not fit. */
void options_command_line(char *dst, size_t size, int argc, char **argv);

#endif
