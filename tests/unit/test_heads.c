/* Heads: what names stand for, what a spelling says, and a sentence for every text that is none. */
#include "lib/nn/model/heads.h"
#include "tests/check.h"

/* A head's layers as a text. */
static const char *spelled(const char *text, int d, int dim)
{
	static char out[512];
	struct head h;
	size_t n = 0;

	if (head_parse(&h, "head", text, d, dim) < 0)
		return "refused";
	*out = 0;
	for (int i = 0; i < h.count; i++, n = strlen(out)) {
		const struct head_layer *l = &h.layers[i];

		if (l->kind == HEAD_LINEAR)
			format(out + n, sizeof(out) - n, " %d", l->width);
		else if (l->kind == HEAD_DROP)
			format(out + n, sizeof(out) - n, " drop=%g", l->p);
		else
			format(out + n, sizeof(out) - n, " %s",
			       l->kind == HEAD_NORM ? "bn" : l->kind == HEAD_RELU ? "relu" : "gelu");
	}
	format(out + n, sizeof(out) - n, ": %d", h.width);
	return out;
}

static void means(const char *text, const char *want)
{
	const char *got = spelled(text, 512, 128);
	char title[128];

	snprintf(title, sizeof(title), "head '%s'", text);
	check(title, strcmp(got, want) == 0, "%s", got);
}

static void refused(const char *text, const char *word)
{
	char title[128];
	bool good = strcmp(spelled(text, 512, 128), "refused") == 0 && strstr(why(), word) && strstr(why(), "simple") &&
		    why_code() == EXIT_USAGE;

	snprintf(title, sizeof(title), "head '%s' is refused", text);
	check(title, good, "%s", why());
}

static void test_predictors(void)
{
	struct predictors p;

	check("one without a word", predictors_parse(&p, "byol") == 0 && p.count == 1 && !*p.list[0].word &&
	      strcmp(p.list[0].layers, "byol") == 0, "%s", why());
	check("several with words", predictors_parse(&p, "a=8,drop=.5 byol bc=simple") == 0 && p.count == 3 &&
	      strcmp(p.list[0].word, "a") == 0 && strcmp(p.list[0].layers, "8,drop=.5") == 0 && !*p.list[1].word &&
	      strcmp(p.list[2].word, "bc") == 0, "%s", why());
	check("none", predictors_parse(&p, "none") == 0 && p.count == 0, "%s", why());
	check("of one word the last", predictors_parse(&p, "a=8 b=2 a=9") == 0 && p.count == 2 &&
	      strcmp(p.list[0].layers, "9") == 0 && strcmp(predictors_spell(&p, (char[32]){ "" }, 32), "a=9 b=2") == 0,
	      "%s", why());
	check("none ends all before it", predictors_parse(&p, "a=8 none b=2") == 0 && p.count == 1 && *p.list[0].word == 'b',
	      "%s", why());
	check("nine are refused", predictors_parse(&p, "a=1 b=1 c=1 d=1 e=1 f=1 g=1 h=1 i=1") < 0, "they are not");
	check("a long word is refused", predictors_parse(&p, "abcdefghijklmnopq=1") < 0, "it is not");
}

int main(void)
{
	test_predictors();
	means("none", ": 512");
	means("linear", " 128: 128");
	means("simple", " 512 relu 128: 128");
	means("wide", " 1024 relu 128: 128");
	means("deep", " 512 relu 512 relu 128: 128");
	means("byol", " 4096 bn relu 256: 256");
	means("2048,bn,relu,256", " 2048 bn relu 256: 256");
	means("64,gelu,drop=.5,32,bn", " 64 gelu drop=0.5 32 bn: 32");
	refused("", "no layers");
	refused("round", "a width");
	refused("2048,,256", "a width");
	refused("2048,bn,relu,256,", "a width");
	refused("0,relu,5", "a width");
	refused("70000", "a width");
	refused("8,drop=1", "a width");
	refused("bn,8", "follows");
	refused("8,relu,bn", "follows");
	refused("8,relu,relu", "follows");
	refused("1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", "too many");
	check("a name's width is the option's", head_spelled_width("simple") == 0 && head_spelled_width("none") == 0,
	      "it is not");
	check("a spelling's is its own", head_spelled_width("9,bn") == 9 && head_spelled_width("byol") == 256, "it is not");
	check("of what is no head there is none", head_spelled_width("x") == -1, "there is");
	return check_done();
}
