#include "lib/base/options.h"

#include <getopt.h>

const struct entry *table_row(const struct table *t, int i)
{
	return (const struct entry *)((const char *)t->rows + (size_t)i * t->stride);
}

const struct entry *table_find(const struct table *t, const char *name)
{
	for (int i = 0; i < t->count; i++)
		if (strcmp(table_row(t, i)->name, name) == 0)
			return table_row(t, i);
	return NULL;
}

/* --- choices --- */

static void append(char *dst, size_t size, const char *text)
{
	size_t n = strlen(dst);

	snprintf(dst + n, size - n, "%s%s", n ? ", " : "", text);
}

static int unknown_name(const struct table *t, const char *name)
{
	char names[512] = "";

	for (int i = 0; i < t->count; i++)
		append(names, sizeof(names), table_row(t, i)->name);
	return fail_code(EXIT_USAGE, "unknown %s '%s': choose one of %s", t->what, name, names);
}

static int unknown_key(const struct table *t, const struct entry *e, const char *key)
{
	char keys[512] = "";

	for (const struct param *p = e->params; p && p->key; p++)
		append(keys, sizeof(keys), p->key);
	return fail_code(EXIT_USAGE, "%s '%s' has no parameter '%s': %s%s", t->what, e->name, key,
			 * keys ? "it has " : "it has none", keys);
}

const char param_range[] = "range";

bool param_is_text(const struct param *p)
{
	return p->text && p->text != param_range;
}

/* "LEAST-MOST"; "LEAST" alone leaves *most. The second number begins behind the minus at which the first one ends. */
static int parse_range(const char *text, double *least, double *most)
{
	char first[64], *end;

	if (parse_real(text, least) == 0)
		return 0;
	strtod(text, &end);
	if (*end != '-' || format(first, sizeof(first), "%.*s", (int)(end - text), text) < 0)
		return -1;
	return parse_real(first, least) < 0 ? -1 : parse_real(end + 1, most);
}

static int set_number_param(struct choice *c, const struct table *t, int i, const char *value)
{
	const struct param *p = &c->entry->params[i];
	bool range = p->text == param_range;

	c->most[i] = p->max;
	if ((range ? parse_range(value, &c->value[i], &c->most[i]) : parse_real(value, &c->value[i])) == 0 &&
	    c->value[i] >= p->min && c->value[i] <= c->most[i] && c->most[i] <= p->max)
		return 0;
	if (range)
		return fail_code(EXIT_USAGE,
				 "parameter '%s=%s' of %s '%s' is neither a number from %g to %g nor a rising range of them, "
				 "as in %g-%g", p->key, value, t->what, c->entry->name, p->min, p->max, p->value, p->max);
	return fail_code(EXIT_USAGE, "parameter '%s=%s' of %s '%s' is not a number from %g to %g", p->key, value, t->what,
			 c->entry->name, p->min, p->max);
}

static int set_param(struct choice *c, const struct table *t, char *text)
{
	char *value = strchr(text, '=');
	const struct entry *e = c->entry;
	int i = 0;

	if (value)
		*value++ = '\0';
	while (e->params && e->params[i].key && strcmp(e->params[i].key, text) != 0)
		i++;
	if (!e->params || !e->params[i].key)
		return unknown_key(t, e, text);
	if (!value || !*value)
		return fail_code(EXIT_USAGE, "parameter '%s' of %s '%s' needs a value: write %s:%s=VALUE", text, t->what, e->name,
				 e->name, text);
	c->given[i] = true;
	if (!param_is_text(&e->params[i]))
		return set_number_param(c, t, i, value);
	c->text[i] = xstrdup(value);
	return 0;
}

/* Sets key=value,key=value, cutting the text up; NULL: nothing. */
static int set_params(struct choice *c, const struct table *t, char *text)
{
	char *next;

	while ((next = text) && *next) {
		text = strchr(next, ',');
		if (text)
			*text++ = '\0';
		if (set_param(c, t, next) < 0)
			return -1;
	}
	return 0;
}

int choice_change(struct choice *c, const struct table *t, const char *changes)
{
	char text[sizeof(c->spelling)];

	if (format(text, sizeof(text), "%s", changes) < 0)
		return fail_code(EXIT_USAGE, "'%.40s...' is too long", changes);
	return set_params(c, t, text);
}

int choice_parse(struct choice *c, const struct table *t, const char *spelling)
{
	char text[sizeof(c->spelling)], *rest;

	memset(c, 0, sizeof(*c));
	if (format(c->spelling, sizeof(c->spelling), "%s", spelling) < 0)
		return fail_code(EXIT_USAGE, "%s '%.40s...' is too long", t->what, spelling);
	memcpy(text, c->spelling, sizeof(text));
	rest = strchr(text, ':');
	if (rest)
		*rest++ = '\0';
	c->entry = table_find(t, text);
	if (!c->entry)
		return unknown_name(t, text);
	for (int i = 0; c->entry->params && c->entry->params[i].key; i++) {
		c->value[i] = c->entry->params[i].value;
		c->most[i] = c->entry->params[i].max;
		c->text[i] = c->entry->params[i].text;
	}
	return set_params(c, t, rest);
}

static int param_index(const struct choice *c, const char *key)
{
	for (int i = 0; c->entry->params && c->entry->params[i].key; i++)
		if (strcmp(c->entry->params[i].key, key) == 0)
			return i;
	bug("'%s' has no parameter '%s'", c->entry->name, key);
}

double choice_value(const struct choice *c, const char *key)
{
	return c->value[param_index(c, key)];
}

const char *choice_text(const struct choice *c, const char *key)
{
	return c->text[param_index(c, key)];
}

static bool is_default(const struct choice *c, int i)
{
	const struct param *p = &c->entry->params[i];

	if (param_is_text(p))
		return strcmp(c->text[i], p->text) == 0;
	return c->value[i] == p->value && (p->text != param_range || c->most[i] == p->max);
}

const char *choice_spell(const struct choice *c, char *dst, size_t size)
{
	size_t n = snprintf(dst, size, "%s", c->entry->name);

	for (int i = 0; c->entry->params && c->entry->params[i].key && n < size; i++) {
		const struct param *p = &c->entry->params[i];
		char before = strchr(dst, ':') ? ',' : ':';

		if (p->later && is_default(c, i))
			continue;
		if (param_is_text(p))
			n += snprintf(dst + n, size - n, "%c%s=%s", before, p->key, c->text[i]);
		else
			n += snprintf(dst + n, size - n, "%c%s=%.9g", before, p->key, c->value[i]);
		if (p->text == param_range && c->most[i] < p->max && n < size)
			n += snprintf(dst + n, size - n, "-%.9g", c->most[i]);
	}
	return dst;
}

/* --- parsing --- */

enum { LONG_BASE = 256, OPTIONS_MOST = 96 }; /* LONG_BASE + row number: getopt's value of a row */

static int set_number(const struct option_row *row, const char *value, void *at)
{
	int64_t i;
	double d;

	if (row->type == OPT_INT) {
		if (parse_int(value, &i) == 0 && i >= row->min && i <= row->max) {
			*(int64_t *)at = i;
			return 0;
		}
		return fail_code(EXIT_USAGE, "--%s '%s' is not a whole number from %.0f to %.0f", row->name, value, row->min,
				 row->max);
	}
	if (parse_real(value, &d) == 0 && d >= row->min && d <= row->max) {
		*(double *)at = d;
		return 0;
	}
	return fail_code(EXIT_USAGE, "--%s '%s' is not a number from %g to %g", row->name, value, row->min, row->max);
}

static int set_option(const struct option_row *row, const char *value, void *options)
{
	void *at = (char *)options + row->offset;
	struct option_list *list = at;

	switch (row->type) {
	case OPT_FLAG:
		*(bool *)at = true;
		return 0;
	case OPT_COUNT_UP:
		++*(int *)at;
		return 0;
	case OPT_COUNT_DOWN:
		--*(int *)at;
		return 0;
	case OPT_TEXT:
		*(const char **)at = value;
		return 0;
	case OPT_LIST:
		if (list->count == (int)ARRAY_SIZE(list->items))
			return fail_code(EXIT_USAGE, "--%s is given more than %zu times", row->name, ARRAY_SIZE(list->items));
		list->items[list->count++] = value;
		return 0;
	case OPT_CHOICE:
		if (strcmp(value, "list") == 0) {
			table_print(row->table);
			exit(fflush(stdout) == 0 && !ferror(stdout) ? EXIT_OK : EXIT_FAIL);
		}
		return choice_parse(at, row->table, value);
	default:
		return set_number(row, value, at);
	}
}

static int fill_defaults(const struct manual *m, void *options)
{
	for (const struct option_row *row = m->rows; row->name; row++) {
		struct choice *c = (struct choice *)((char *)options + row->offset);
		char spelling[sizeof(c->spelling)];

		if (row->type != OPT_CHOICE || c->entry || !c->spelling[0])
			continue;
		memcpy(spelling, c->spelling, sizeof(spelling));
		if (choice_parse(c, row->table, spelling) < 0)
			return -1;
	}
	return 0;
}

static int build_getopt(const struct manual *m, struct option *longs, char *shorts)
{
	int n = 0;

	*shorts++ = ':';
	for (; m->rows[n].name; n++) {
		const struct option_row *row = &m->rows[n];

		if (n == OPTIONS_MOST)
			bug("%s has more than %d options", m->name, OPTIONS_MOST);
		longs[n] = (struct option){ row->name, row->arg ? required_argument : no_argument, NULL, LONG_BASE + n };
		if (row->letter) {
			*shorts++ = row->letter;
			if (row->arg)
				*shorts++ = ':';
		}
	}
	longs[n] = (struct option){ "help", no_argument, NULL, 'h' };
	longs[n + 1] = (struct option){ "version", no_argument, NULL, 'V' };
	longs[n + 2] = (struct option){ NULL, 0, NULL, 0 };
	memcpy(shorts, "hV", 3);
	return n;
}

static const struct option_row *row_of(const struct manual *m, int value)
{
	if (value >= LONG_BASE)
		return &m->rows[value - LONG_BASE];
	for (const struct option_row *row = m->rows; row->name; row++)
		if (row->letter == value)
			return row;
	return NULL;
}

static int misuse(const struct manual *m, int c, const char *word)
{
	char letter[3] = { '-', (char)optopt, '\0' };

	if (optopt > 0 && optopt < LONG_BASE) /* the word may hold other letters, or getopt may still be inside it */
		word = letter;
	if (c == ':')
		return fail_code(EXIT_USAGE, "option '%s' needs a value: try '%s --help'", word, m->name);
	return fail_code(EXIT_USAGE, "unknown option '%s': try '%s --help'", word, m->name);
}

int options_parse(const struct manual *m, void *options, int argc, char **argv)
{
	struct option longs[OPTIONS_MOST + 3];   /* and --help, --version, the end */
	char shorts[2 * OPTIONS_MOST + 4];
	int c;

	build_getopt(m, longs, shorts);
	opterr = 0;
	optind = 0;
	if (fill_defaults(m, options) < 0)
		return -1;
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		if (c == 'h' || c == 'V') {
			if (c == 'h')
				manual_print(m, options);
			else
				printf("%s (sprat) %s\n", m->name, SPRAT_VERSION);
			exit(fflush(stdout) == 0 && !ferror(stdout) ? EXIT_OK : EXIT_FAIL);
		}
		if (c == '?' || c == ':')
			return misuse(m, c, argv[optind - 1]);
		if (set_option(row_of(m, c), optarg, options) < 0)
			return -1;
	}
	return optind;
}

/* word as a shell reads it back, into 4 * strlen(word) + 3 bytes. */
static void quote(char *dst, const char *word)
{
	if (*word && word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,:/@%")] == '\0') {
		strcpy(dst, word);
		return;
	}
	*dst++ = '\'';
	for (; *word; word++) {
		if (*word == '\'')
			dst = stpcpy(dst, "'\\''");
		else
			*dst++ = *word;
	}
	strcpy(dst, "'");
}

void options_command_line(char *dst, size_t size, int argc, char **argv)
{
	size_t n = 0;

	dst[0] = '\0';
	for (int i = 0; i < argc; i++) {
		const char *word = i == 0 && strrchr(argv[i], '/') ? strrchr(argv[i], '/') + 1 : argv[i];
		char *quoted = xmalloc(4 * strlen(word) + 3);

		quote(quoted, word);
		n += snprintf(dst + n, size - n, "%s%s", i ? " " : "", quoted);
		free(quoted);
		if (n >= size) {
			memcpy(dst + size - 4, "...", 4);
			return;
		}
	}
}
