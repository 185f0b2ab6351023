/* The options table: values, ranges, choices, and a sentence for every misuse that names the way out. */
#include "lib/base/options.h"
#include "tests/check.h"

#include <sys/wait.h>
#include <unistd.h>

static const struct param plain_params[] = {
	{ "t", 0.1, 0.01, 1, "temperature", NULL },
	{ "k", 4096, 1, 1e9, "queue", NULL },
	{ "at", 0, 0, 0, "epochs", "60+80" },
	{ "r", 0.2, 0.001, 1, "ripeness", param_range },
	{ NULL, 0, 0, 0, NULL, NULL },
};

struct fruit {
	struct entry entry;
	int stones;
};

static const struct fruit fruits[] = {
	{ { "plum", "the purple one", plain_params }, 1 },
	{ { "fig", "the sweet one", NULL }, 0 },
};
static const struct table fruit_table = TABLE("fruit", fruits);

struct options {
	bool flag;
	int64_t number;
	double real;
	const char *text;
	struct option_list list;
	struct choice fruit;
	int level;
};

static const struct option_row rows[] = {
	{ 'f', "flag", OPT_FLAG, offsetof(struct options, flag), 0, 0, NULL, "a switch", NULL },
	{ 'n', "number", OPT_INT, offsetof(struct options, number), -5, 1000, "N", "a whole number", NULL },
	{ 0, "real", OPT_REAL, offsetof(struct options, real), 0, 2.5, "X", "a number", NULL },
	{ 't', "text", OPT_TEXT, offsetof(struct options, text), 0, 0, "TEXT", "any text", NULL },
	{ 'l', "list", OPT_LIST, offsetof(struct options, list), 0, 0, "WORD", "may be repeated", NULL },
	{ 'c', "fruit", OPT_CHOICE, offsetof(struct options, fruit), 0, 0, "FRUIT", "what to eat", &fruit_table },
	{ 'v', "verbose", OPT_COUNT_UP, offsetof(struct options, level), 0, 0, NULL, "say more", NULL },
	{ 'q', "quiet", OPT_COUNT_DOWN, offsetof(struct options, level), 0, 0, NULL, "say less", NULL },
	OPTIONS_END
};
static const struct manual manual = { "basket", "[OPTION]... FILE...", "Carries fruit.", "example: basket -c fig\n", rows };

/* Parses a line of words; the words live as long as the program. */
static int parse(struct options *o, const char *line, char ***argv)
{
	char **words = xcalloc(80, sizeof(*words)), *text = xstrdup(line);
	int n = 0;

	*o = (struct options){ .number = 7, .real = 0.5, .text = "none", .fruit.spelling = "plum:k=64" };
	words[n++] = "basket";
	for (char *w = strtok(text, " "); w; w = strtok(NULL, " "))
		words[n++] = strcmp(w, "EMPTY") == 0 ? "" : w;
	if (argv)
		*argv = words;
	return options_parse(&manual, o, n, words);
}

static void test_values(void)
{
	struct options o;
	char **argv;
	int first = parse(&o, "", NULL);

	check("defaults stay", first == 1 && !o.flag && o.number == 7 && o.real == 0.5 && !strcmp(o.text, "none"), "%d %s", first,
	      why());
	check("a choice's default is parsed", o.fruit.entry == &fruits[0].entry && choice_value(&o.fruit, "k") == 64,
	      "it is not");
	first = parse(&o, "a -n -5 b --real=2.5 --text x -lone --list two -c fig -fvv -- -n c", &argv);
	check("short, long, joined and bundled",
	      first > 0 && o.flag && o.number == -5 && o.real == 2.5 && !strcmp(o.text, "x") && o.level == 2, "%d %s", first,
	      why());
	check("a list grows", o.list.count == 2 && !strcmp(o.list.items[0], "one") && !strcmp(o.list.items[1], "two"), "%d",
	      o.list.count);
	check("a choice is found", o.fruit.entry == &fruits[1].entry && ((const struct fruit *)o.fruit.entry)->stones == 0,
	      "it is not");
	check("operands come last, in order, also after --",
	      first > 0 && !strcmp(argv[first], "a") && !strcmp(argv[first + 1], "b") && !strcmp(argv[first + 2], "-n") &&
		  !strcmp(argv[first + 3], "c"),
	      "first is %d", first);
	parse(&o, "-qq -v", NULL);
	check("counters go up and down", o.level == -1, "%d", o.level);
}

/* line must be refused with EXIT_USAGE, with both words in the sentence. */
static void refused(const char *line, const char *word, const char *also)
{
	struct options o;
	char name[128];
	int r = parse(&o, line, NULL);

	snprintf(name, sizeof(name), "'%s' is refused", line);
	check(name, r < 0 && why_code() == EXIT_USAGE && strstr(why(), word) && strstr(why(), also), "%d, \"%s\"", r, why());
}

static void test_misuse(void)
{
	static const char *const numbers[] = { "-6",  "1001", "0x10", "1e2", "5.0", "5x", "EMPTY", "99999999999999999999",
					       "+-5", "x" };
	static const char *const reals[] = { "-0.1", "2.6", "nan", "inf", "1e400", "0x1", "1,5", "EMPTY", ".", "1e" };
	static const char *const ranges[] = { "0",	  "2",    "0-1",   ".5-2",  ".5-.2", "2-3",   ".5-", "-", "-.5",
					      ".2-.5-.7", "ripe", ".2-x", "nan-1", "0x1-1", "1e-2-", ".2--.5" };
	char line[64];

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		snprintf(line, sizeof(line), "-n %s", numbers[i]);
		refused(line, "--number", "from -5 to 1000");
	}
	for (size_t i = 0; i < ARRAY_SIZE(reals); i++) {
		snprintf(line, sizeof(line), "--real %s", reals[i]);
		refused(line, "--real", "from 0 to 2.5");
	}
	refused("--nonsense", "'--nonsense'", "--help");
	refused("-x", "'-x'", "--help");
	refused("-fx", "x'", "--help");
	refused("-xf", "x", "'-");
	refused("--number", "'--number' needs a value", "--help");
	refused("-n", "'-n' needs a value", "--help");
	refused("-fn", "needs a value", "n'");
	refused("-l a -l b -c pear", "'pear'", "plum, fig");
	refused("-c EMPTY", "unknown fruit ''", "plum, fig");
	refused("-c plum:size=3", "'size'", "t, k, at");
	refused("-c fig:k=3", "'k'", "none");
	refused("-c plum:k", "'k'", "plum:k=");
	refused("-c plum:k=", "'k'", "plum:k=");
	refused("-c plum:k=0", "'k=0'", "from 1 to 1e+09");
	refused("-c plum:k=many", "'k=many'", "from 1");
	refused("-c plum:t=nan", "'t=nan'", "from 0.01 to 1");
	refused("-c plum:t=.1-.2", "'t=.1-.2'", "from 0.01 to 1");
	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
		snprintf(line, sizeof(line), "-c plum:r=%s", ranges[i]);
		refused(line, ranges[i], "as in 0.2-1");
	}
}

static void test_long_lines(void)
{
	char line[1024] = "";
	struct options o;

	for (int i = 0; i < 65; i++)
		strcat(line, "-lw ");
	check("a list of 65 is refused", parse(&o, line, NULL) < 0 && strstr(why(), "64"), "\"%s\"", why());
	memset(line, 'x', 300);
	memcpy(line, "-c plum:at=", 11);
	line[300] = '\0';
	check("a choice longer than its room is refused", parse(&o, line, NULL) < 0 && strstr(why(), "too long"), "\"%s\"",
	      why());
}

static void test_choices(void)
{
	struct choice c;

	check("parameters have defaults",
	      choice_parse(&c, &fruit_table, "plum") == 0 && choice_value(&c, "t") == 0.1 &&
		  !strcmp(choice_text(&c, "at"), "60+80") && !c.given[0],
	      "%s", why());
	check("parameters are set",
	      choice_parse(&c, &fruit_table, "plum:t=0.2,at=3+4,k=1e3") == 0 && choice_value(&c, "t") == 0.2 &&
		  choice_value(&c, "k") == 1000 && !strcmp(choice_text(&c, "at"), "3+4") && c.given[2],
	      "%s", why());
	check("the spelling is kept", !strcmp(c.spelling, "plum:t=0.2,at=3+4,k=1e3"), "'%s'", c.spelling);
	check("a row is found by name only whole",
	      table_find(&fruit_table, "fig") == &fruits[1].entry && !table_find(&fruit_table, "fi") &&
		  !table_find(&fruit_table, ""),
	      "it is not");
}

/* A choice's parameter r, and how the whole is spelled. */
static void ripe(const char *spelling, double least, double most, const char *spelled)
{
	struct choice c;
	char name[64], text[128], want[128];
	int r = choice_parse(&c, &fruit_table, spelling);

	snprintf(name, sizeof(name), "%s is a range", spelling);
	snprintf(want, sizeof(want), "plum:t=0.1,k=4096,at=60+80,r=%s", spelled);
	check(name, r == 0 && c.value[3] == least && c.most[3] == most && !strcmp(choice_spell(&c, text, sizeof(text)), want),
	      "%d %g-%g '%s' %s", r, c.value[3], c.most[3], r == 0 ? text : "", why());
}

static void test_ranges(void)
{
	struct choice c;
	char text[128];

	ripe("plum", 0.2, 1, "0.2");
	ripe("plum:r=.3", 0.3, 1, "0.3");
	ripe("plum:r=.3-1", 0.3, 1, "0.3");
	ripe("plum:r=.3-.5", 0.3, 0.5, "0.3-0.5");
	ripe("plum:r=1e-2-5e-2", 0.01, 0.05, "0.01-0.05");
	ripe("plum:r=+.3-+.3", 0.3, 0.3, "0.3-0.3");
	ripe("plum:r=.3-.5,r=.4", 0.4, 1, "0.4");
	choice_parse(&c, &fruit_table, "plum:k=7,r=.3-.5");
	check("a choice is changed, but for what is not named",
	      choice_change(&c, &fruit_table, "r=.1-.2,t=1") == 0 &&
		  !strcmp(choice_spell(&c, text, sizeof(text)), "plum:t=1,k=7,at=60+80,r=0.1-0.2"),
	      "'%s'", text);
	check("a wrong change is refused", choice_change(&c, &fruit_table, "k=8,size=3") < 0 && strstr(why(), "'size'"), "\"%s\"",
	      why());
}

/* What the program prints on stdout and stderr when it parses line, and how it ends. */
static int printed(const char *line, char *text, size_t size)
{
	int ends[2], status;
	size_t n = 0;
	ssize_t r;
	pid_t child;

	fflush(stdout);
	if (pipe(ends) < 0 || (child = fork()) < 0)
		bug("unable to fork");
	if (child == 0) {
		struct options o;

		dup2(ends[1], STDOUT_FILENO);
		dup2(ends[1], STDERR_FILENO);
		parse(&o, line, NULL);
		_exit(99);
	}
	close(ends[1]);
	while (n < size - 1 && (r = read(ends[0], text + n, size - 1 - n)) > 0)
		n += r;
	text[n] = '\0';
	close(ends[0]);
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_help(void)
{
	char text[4096];
	bool whole = true;
	int status = printed("-n 12 --help", text, sizeof(text));

	for (const struct option_row *row = rows; row->name; row++) {
		char name[32];

		snprintf(name, sizeof(name), "--%s", row->name);
		whole &= strstr(text, name) && strstr(text, row->help);
	}
	check("--help names every option", status == EXIT_OK && whole && strstr(text, "usage: basket"), "%d\n%s", status, text);
	check("--help shows defaults",
	      strstr(text, "(default 0.5)") && strstr(text, "(default none)") && strstr(text, "(default plum"), "%s", text);
	check("--help ends with the examples", strstr(text, "example: basket -c fig\n"), "%s", text);
	status = printed("-c list", text, sizeof(text));
	check("list prints the table",
	      status == EXIT_OK && strstr(text, "plum") && strstr(text, "the sweet one") && strstr(text, "temperature") &&
		  strstr(text, "60+80"),
	      "%d\n%s", status, text);
	status = printed("-V", text, sizeof(text));
	check("--version says which", status == EXIT_OK && !strcmp(text, "basket (sprat) " SPRAT_VERSION "\n"), "%d '%s'", status,
	      text);
}

static void test_command_line(void)
{
	char dst[64];

	options_command_line(dst, sizeof(dst), 4, (char *[]){ "/usr/bin/encode", "-a", "two words", "" });
	check("a command line is quoted where needed", !strcmp(dst, "encode -a 'two words' ''"), "%s", dst);
	options_command_line(dst, sizeof(dst), 2, (char *[]){ "loss", "it's" });
	check("a quote survives quoting", !strcmp(dst, "loss 'it'\\''s'"), "%s", dst);
	options_command_line(dst, 16, 3, (char *[]){ "encode", "0123456789", "more" });
	check("a long command line is cut", !strcmp(dst, "encode 01234..."), "%s", dst);
}

int main(void)
{
	test_values();
	test_misuse();
	test_long_lines();
	test_choices();
	test_ranges();
	test_help();
	test_command_line();
	return check_done();
}
