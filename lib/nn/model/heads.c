#include "lib/nn/model/heads.h"

#include "lib/tensor/names.h"

/* Shi et al. 2022: linear to deep; SimCLR (Chen et al. 2020, B.9); BYOL (Grill et al. 2020, 3.3), whose predictor SimDis has too
 * (Gu et al. 2021, 3.1); SimSiam (Chen and He 2021, sec. 3). */
static const struct { const char *name, *head, *predictor; } names[] = {
	{ "none", "", "" },
	{ "linear", "dim", "dim" },
	{ "simple", "d,relu,dim", "d,relu,dim" },
	{ "wide", "2d,relu,dim", "2d,relu,dim" },
	{ "deep", "d,relu,d,relu,dim", "d,relu,d,relu,dim" },
	{ "simclr", "d,bn,relu,dim,bn", NULL },
	{ "byol", "4096,bn,relu,256", "4096,bn,relu,dim" },
	{ "simdis", "4096,bn,relu,256", "4096,bn,relu,dim" },
	{ "simsiam", "2048,bn,relu,2048,bn,relu,2048,bn", "512,bn,relu,dim" },
};

static const char *spelling_of(int i, const char *kind)
{
	return strcmp(kind, "predictor") == 0 ? names[i].predictor : names[i].head;
}

static const char *find_spelling(const char *kind, const char *text)
{
	for (int i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(names[i].name, text) == 0)
			return spelling_of(i, kind);
	return NULL;
}

static int refuse(const char *kind, const char *text, const char *because)
{
	char known[256] = "";

	for (int i = 0; i < ARRAY_SIZE(names); i++) {
		size_t n = strlen(known);

		if (spelling_of(i, kind))
			format(known + n, sizeof(known) - n, "%s%s", i ? ", " : "", names[i].name);
	}
	return fail_code(EXIT_USAGE, "%s '%s': %s: give layers such as 2048,bn,relu,256, or one of %s", kind, text, because,
			 known);
}

/* A width: a number, d, 2d or dim; 0: it is none. */
static int width_of(const char *word, int d, int dim)
{
	int64_t n;

	if (strcmp(word, "dim") == 0)
		return dim;
	if (strcmp(word, "d") == 0 || strcmp(word, "2d") == 0)
		return word[0] == '2' ? 2 * d : d;
	return parse_int(word, &n) == 0 && n > 0 && n <= HEAD_WIDEST ? (int)n : 0;
}

/* One word as a layer. -1: it is none. */
static int layer_of(struct head_layer *l, const char *word, int d, int dim)
{
	static const char *const kinds[] = { [HEAD_NORM] = "bn", [HEAD_RELU] = "relu", [HEAD_GELU] = "gelu" };

	*l = (struct head_layer){ .kind = HEAD_LINEAR, .width = width_of(word, d, dim) };
	if (l->width > 0)
		return 0;
	if (strncmp(word, "drop=", 5) == 0) {
		l->kind = HEAD_DROP;
		return parse_real(word + 5, &l->p) == 0 && l->p >= 0 && l->p < 1 ? 0 : -1;
	}
	for (int i = HEAD_NORM; i <= HEAD_GELU; i++)
		if (strcmp(word, kinds[i]) == 0) {
			l->kind = i;
			return 0;
		}
	return -1;
}

/* What a layer may come behind: a norm behind a linear layer, an activation behind one of the two. */
static bool may_follow(const struct head *h, enum head_kind kind)
{
	enum head_kind before = h->count ? h->layers[h->count - 1].kind : HEAD_DROP;

	if (kind == HEAD_NORM)
		return before == HEAD_LINEAR;
	if (kind == HEAD_RELU || kind == HEAD_GELU)
		return before == HEAD_LINEAR || before == HEAD_NORM;
	return kind == HEAD_LINEAR || h->count > 0;
}

int head_parse(struct head *h, const char *kind, const char *text, int d, int dim)
{
	const char *named = find_spelling(kind, text);
	char words[256], *rest = words;

	*h = (struct head){ .width = d };
	if (format(words, sizeof(words), "%s", named ? named : text) < 0)
		return refuse(kind, text, "it is too long");
	for (char *word; *words && (word = strsep(&rest, ","));) {
		struct head_layer l;

		if (layer_of(&l, word, d, dim) < 0)
			return refuse(kind, text, "a layer is a width, bn, relu, gelu or drop=P");
		if (!may_follow(h, l.kind))
			return refuse(kind, text, "a norm follows a width, an activation a width or a norm");
		if (h->count == HEAD_LAYERS)
			return refuse(kind, text, "it has too many layers");
		h->layers[h->count++] = l;
		h->width = l.kind == HEAD_LINEAR ? l.width : h->width;
	}
	return h->count || named ? 0 : refuse(kind, text, "it has no layers");
}

int head_spelled_width(const char *text)
{
	const char *named = find_spelling("head", text);
	struct head h;

	if (named && (strstr(named, "dim") || !*named))
		return 0;
	return head_parse(&h, "head", text, 1, 1) < 0 ? -1 : h.width;
}

/* [WORD=]LAYERS. A word is no layer that has an equals sign, too. */
static int parse_predictor(struct predictor *p, const char *text)
{
	size_t n = strspn(text, NAME_LETTERS);
	bool worded = text[n] == '=' && strncmp(text, "drop=", 5) != 0;

	if (worded && n >= PREDICTOR_WORD)
		return fail_code(EXIT_USAGE, "predictor '%.40s': a word of at most %d letters", text, PREDICTOR_WORD - 1);
	snprintf(p->word, sizeof(p->word), "%.*s", worded ? (int)n : 0, text);
	if (format(p->layers, sizeof(p->layers), "%s", worded ? text + n + 1 : text) < 0)
		return refuse("predictor", text, "it is too long");
	return 0;
}

int predictors_add(struct predictors *p, const char *text)
{
	struct predictor one;
	int i = 0;

	if (strcmp(text, "none") == 0) {
		p->count = 0;
		return 0;
	}
	if (parse_predictor(&one, text) < 0)
		return -1;
	while (i < p->count && strcmp(p->list[i].word, one.word) != 0)
		i++;
	if (i == PREDICTORS)
		return fail_code(EXIT_USAGE, "more than %d predictors", PREDICTORS);
	p->list[i] = one;
	p->count = MAX(p->count, i + 1);
	return 0;
}

int predictors_parse(struct predictors *p, const char *text)
{
	char words[1024], *rest = words;

	p->count = 0;
	if (format(words, sizeof(words), "%s", text) < 0)
		return refuse("predictor", text, "it is too long");
	for (char *word; (word = strsep(&rest, " "));)
		if (predictors_add(p, word) < 0)
			return -1;
	return 0;
}

const char *predictors_spell(const struct predictors *p, char *dst, size_t size)
{
	size_t n = snprintf(dst, size, "%s", p->count ? "" : "none");

	for (int i = 0; i < p->count && n < size; i++)
		n += snprintf(dst + n, size - n, "%s%s%s%s", i ? " " : "", p->list[i].word, *p->list[i].word ? "=" : "",
			      p->list[i].layers);
	return dst;
}
