/*
 * freeze.c - which tensors training keeps as they are, and which it moves at rates of their own: those of a room, of a prefix
 * that ends at a dot, or single ones
 *
 * A batch norm whose weight and bias are both frozen is frozen as a whole: its running statistics normalise, and stay.
 */
#include "lib/nn/engine/engine.h"

enum { WORDS = 256, NEAR = 3 };

/* The last is that of all predictors. */
static const char *const rooms[] = { [OUTPUT_FEATURE] = "backbone", [OUTPUT_HEAD] = "head", [OUTPUT_PREDICTOR] = "predictor" };

static bool is_meant(const struct net_tensor *t, const char *word)
{
	size_t n = strlen(word);

	return strcmp(word, rooms[MIN(t->output, OUTPUT_PREDICTOR)]) == 0 || strcmp(word, t->name) == 0 ||
	       (n > 1 && word[n - 1] == '.' && strncmp(word, t->name, n) == 0);
}

/* --- a word that means nothing --- */

/* Letters to change, add or take away on the way from one to the other (Levenshtein). */
static int distance(const char *a, const char *b)
{
	int row[TENSOR_NAME + 1], n = (int)MIN(strlen(b), TENSOR_NAME);

	for (int j = 0; j <= n; j++)
		row[j] = j;
	for (int i = 1; *a; a++, i++)
		for (int j = 0, corner = 0; j <= n; j++) {
			int above = row[j], change = j ? corner + (*a != b[j - 1]) : i;

			row[j] = j ? MIN(MIN(above, row[j - 1]) + 1, change) : i;
			corner = above;
		}
	return row[n];
}

struct near {
	char names[NEAR][TENSOR_NAME];
	int away[NEAR], count;
};

/* Of two as near, one that begins with the word is meant sooner. */
static void consider(struct near *near, const char *word, const char *name)
{
	int away = 2 * distance(word, name) - (strncmp(word, name, strlen(word)) == 0), at = near->count;

	for (int i = 0; i < near->count; i++)
		if (strcmp(near->names[i], name) == 0)
			return;
	while (at > 0 && away < near->away[at - 1])
		at--;
	if (at == NEAR)
		return;
	near->count = MIN(near->count + 1, NEAR);
	memmove(near->names + at + 1, near->names + at, (near->count - 1 - at) * sizeof(near->names[0]));
	memmove(near->away + at + 1, near->away + at, (near->count - 1 - at) * sizeof(near->away[0]));
	format(near->names[at], TENSOR_NAME, "%s", name);
	near->away[at] = away;
}

static int refuse(const struct net *net, const char *option, const char *word)
{
	struct near near = { .count = 0 };

	for (int i = 0; i < ARRAY_SIZE(rooms); i++)
		if (strcmp(word, rooms[i]) == 0)
			return fail_code(EXIT_USAGE, "%s %s: the network has none", option, word);
	for (int i = 0; i < net->tensor_count; i++) {
		char name[TENSOR_NAME];
		const char *whole = net->tensors[i].name;

		for (const char *dot = strchr(whole, '.'); dot; dot = strchr(dot + 1, '.')) {
			format(name, sizeof(name), "%.*s", (int)(dot + 1 - whole), whole);
			consider(&near, word, name);
		}
		if (!net->tensors[i].buffer)
			consider(&near, word, whole);
	}
	return fail_code(EXIT_USAGE,
			 "%s '%s': no tensor of '%s' is called so, nor begins so where it ends at a dot; near are '%s', "
			 "'%s', '%s'", option, word, net->arch->entry.name, near.names[0], near.names[1], near.names[2]);
}

/* --- words --- */

static int freeze_word(struct net *net, const char *word)
{
	bool any = false;

	for (int i = 0; i < net->tensor_count; i++) {
		struct net_tensor *t = &net->tensors[i];

		if (!is_meant(t, word))
			continue;
		if (t->buffer && strcmp(word, t->name) == 0)
			return fail_code(EXIT_USAGE,
					 "--freeze '%s': running statistics stay where the weight and the bias of their norm do: "
					 "name those", word);
		any |= !t->buffer;
		t->frozen |= !t->buffer;
	}
	return any ? 0 : refuse(net, "--freeze", word);
}

/* Mean and variance come behind their norm's weight and bias. */
static void freeze_norms(struct net *net)
{
	struct net_tensor *t = net->tensors;

	for (int i = 2; i < net->tensor_count; i++)
		if (t[i].buffer && !t[i - 1].buffer)
			t[i].frozen = t[i + 1].frozen = t[i - 1].frozen && t[i - 2].frozen;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The words in an order of their own, each once: whoever means the same says the same. */
static int keep_words(struct net *net, char **words, int count)
{
	size_t end = 0;

	qsort(words, count, sizeof(*words), by_name);
	for (int i = 0; i < count; i++) {
		if (i && strcmp(words[i], words[i - 1]) == 0)
			continue;
		if (format(net->freeze + end, sizeof(net->freeze) - end, "%s%s", end ? "," : "", words[i]) < 0)
			return fail_code(EXIT_USAGE, "--freeze has too many names: give prefixes that end at a dot");
		end += strlen(net->freeze + end);
	}
	return 0;
}

static bool is_trained(const struct net *net)
{
	for (int i = 0; i < net->tensor_count; i++)
		if (!net->tensors[i].buffer && !net->tensors[i].frozen)
			return true;
	return false;
}

int freeze_tensors(struct net *net)
{
	const char *given = net->config.freeze ? net->config.freeze : "none";
	char *text = xstrdup(given), *rest = text, *words[WORDS];
	int count = 0, r = 0;

	for (char *word; strcmp(given, "none") != 0 && r == 0 && (word = strsep(&rest, ","));) {
		if (count == WORDS)
			r = fail_code(EXIT_USAGE, "--freeze has more than %d names: give prefixes that end at a dot", WORDS);
		else
			r = freeze_word(net, words[count++] = word);
	}
	format(net->freeze, sizeof(net->freeze), "%s", count ? "" : "none");
	if (r == 0)
		r = keep_words(net, words, count);
	freeze_norms(net);
	if (r == 0 && !is_trained(net))
		r = fail_code(EXIT_USAGE, "--freeze %s leaves nothing to train", net->freeze);
	net->config.freeze = net->freeze;
	free(text);
	return r;
}

/* --- rates --- */

/* "NAME=FACTOR" */
static int rate_word(struct net *net, char *word)
{
	char *value = strchr(word, '=');
	double rate;
	bool any = false;

	if (!value || parse_real(value + 1, &rate) < 0 || !(rate >= 0 && rate <= 1e6))
		return fail_code(EXIT_USAGE, "--lr '%s': give NAME=FACTOR, a factor of 0 to 1e6 on the optimiser's rate, as in "
				 "backbone=0.01,head=1", word);
	*value = '\0';
	for (int i = 0; i < net->tensor_count; i++) {
		struct net_tensor *t = &net->tensors[i];

		if (t->buffer || !is_meant(t, word))
			continue;
		any = true;
		t->rate = rate;
	}
	return any ? 0 : refuse(net, "--lr", word);
}

int freeze_rates(struct net *net)
{
	const char *given = net->config.rates ? net->config.rates : "1";
	char *text = xstrdup(given), *rest = text;
	int r = 0;

	for (char *word; strcmp(given, "1") != 0 && r == 0 && (word = strsep(&rest, ","));)
		r = rate_word(net, word);
	if (r == 0 && format(net->rates, sizeof(net->rates), "%s", given) < 0)
		r = fail_code(EXIT_USAGE, "--lr has too many names: give prefixes that end at a dot");
	net->config.rates = net->rates;
	free(text);
	return r;
}
