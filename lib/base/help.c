/* help.c - what options.h prints: tables of choices and --help, in two columns that fit the terminal */
#include "lib/base/options.h"

#include <sys/ioctl.h>
#include <unistd.h>

enum { WIDTH = 80, WIDTH_LEAST = 50, WIDTH_MOST = 130, LEGEND = 4, TEXT = 1024 };

/* Columns of the terminal that stdout is, or of $COLUMNS where it is none. */
static int page_width(void)
{
	const char *columns = getenv("COLUMNS");
	struct winsize w = { 0 };
	int64_t n = WIDTH;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0)
		n = w.ws_col;
	else if (columns)
		parse_int(columns, &n);
	return (int)MIN(MAX(n, WIDTH_LEAST), WIDTH_MOST);
}

/* Bytes of text that fit into so many columns without breaking a word; a longer word is not broken. */
static size_t fitting(const char *text, size_t columns)
{
	size_t n = strlen(text), at = MIN(n, columns);

	if (n <= columns)
		return n;
	while (at > 0 && text[at] != ' ')
		at--;
	return at ? at : strcspn(text, " ");
}

/* left from column indent on, right from column on, wrapped there. */
static void print_row(int indent, const char *left, int column, const char *right)
{
	int at = printf("%*s%s", indent, "", left), room = page_width() - column - 1;

	if (*left && at + 1 > column) {
		putchar('\n');
		at = 0;
	}
	while (*right) {
		size_t n = fitting(right, MAX(room, 1));

		printf("%*s%.*s", column - at, "", (int)n, right);
		right += n;
		right += strspn(right, " ");
		at = 0;
		if (*right)
			putchar('\n');
	}
	putchar('\n');
}

__attribute__((format(printf, 3, 4)))
static void append(char *dst, size_t size, const char *fmt, ...)
{
	size_t n = strlen(dst);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(dst + n, size - n, fmt, ap);
	va_end(ap);
}

/* --- tables of choices --- */

static void print_defaults(const struct entry *e, int column)
{
	char text[TEXT] = "";

	for (const struct param *p = e->params; p && p->key; p++) {
		append(text, sizeof(text), "%s%s=", p == e->params ? "" : " ", p->key);
		if (param_is_text(p))
			append(text, sizeof(text), "%s", p->text);
		else
			append(text, sizeof(text), "%g", p->value);
	}
	if (*text)
		print_row(0, "", column, text);
}

/* Whether a row above has the same key and means the same by it. */
static bool is_explained(const struct table *t, int row, const struct param *p)
{
	for (int i = 0; i < row; i++)
		for (const struct param *q = table_row(t, i)->params; q && q->key; q++)
			if (strcmp(p->key, q->key) == 0 && strcmp(p->help, q->help) == 0)
				return true;
	return false;
}

static void print_legend(const struct table *t)
{
	size_t width = 0;

	for (int i = 0; i < t->count; i++)
		for (const struct param *p = table_row(t, i)->params; p && p->key; p++)
			width = MAX(width, strlen(p->key));
	if (width)
		printf("\nKeys, changed by NAME:key=value,key=value:\n");
	for (int i = 0; i < t->count; i++)
		for (const struct param *p = table_row(t, i)->params; p && p->key; p++)
			if (!is_explained(t, i, p))
				print_row(LEGEND, p->key, LEGEND + (int)width + 2, p->help);
}

void table_print(const struct table *t)
{
	size_t width = 0;

	for (int i = 0; i < t->count; i++)
		width = MAX(width, strlen(table_row(t, i)->name));
	for (int i = 0; i < t->count; i++) {
		print_row(0, table_row(t, i)->name, (int)width + 2, table_row(t, i)->summary);
		print_defaults(table_row(t, i), (int)width + 2);
	}
	print_legend(t);
}

/* --- --help --- */

static void append_default(char *dst, size_t size, const struct option_row *row, const void *options)
{
	const char *at = (const char *)options + row->offset;

	switch (row->type) {
	case OPT_INT:
		append(dst, size, " (default %lld)", (long long)*(const int64_t *)at);
		break;
	case OPT_REAL:
		append(dst, size, " (default %g)", *(const double *)at);
		break;
	case OPT_TEXT:
		if (*(const char *const *)at && **(const char *const *)at)
			append(dst, size, " (default %s)", *(const char *const *)at);
		break;
	case OPT_CHOICE:
		if (((const struct choice *)at)->spelling[0])
			append(dst, size, " (default %s)", ((const struct choice *)at)->spelling);
		append(dst, size, "; 'list' lists them");
		break;
	default:
		break;
	}
}

/* "-r, --recipe RECIPE" */
static void spell_option(char *dst, size_t size, const struct option_row *row)
{
	char letter[8] = "    ";

	if (row->letter)
		snprintf(letter, sizeof(letter), "-%c, ", row->letter);
	snprintf(dst, size, "%s--%s%s%s", letter, row->name, row->arg ? " " : "", row->arg ? row->arg : "");
}

void manual_print(const struct manual *m, const void *options)
{
	char left[64], right[TEXT];
	int column = 0;

	for (const struct option_row *row = m->rows; row->name; row++) {
		spell_option(left, sizeof(left), row);
		column = MAX(column, 2 + (int)strlen(left) + 2);
	}
	printf("usage: %s %s\n", m->name, m->usage);
	print_row(0, "", 0, m->summary);
	putchar('\n');
	for (const struct option_row *row = m->rows; row->name; row++) {
		spell_option(left, sizeof(left), row);
		snprintf(right, sizeof(right), "%s", row->help);
		append_default(right, sizeof(right), row, options);
		print_row(2, left, column, right);
	}
	print_row(2, "-h, --help", column, "this text");
	print_row(2, "-V, --version", column, "version");
	if (m->tail)
		printf("\n%s", m->tail);
}
