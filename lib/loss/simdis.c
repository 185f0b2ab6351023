/*
 * simdis.c - predictions of several kinds of targets, each by a predictor of its own (SimDis, Gu et al. 2021, eq. 3 and 4)
 *
 *	L = mean over the kinds c of mean over the rows of 4 - 2 (<u(p_c(view0)), u(target0)> + <u(p_c(view1)), u(target1)>)
 *
 *	kind      target of view 0    predictor (encode --predictor KIND=SPEC)
 *	sdv       q1                  the student's own head, of the other view
 *	semasv    k0                  its moving average, of the same view
 *	semadv    k1                  of the other
 *	tsv       t0                  the teacher's head
 *	tdv       t1
 *	temasv    tk0                 its moving average's
 *	temadv    tk1
 *
 * online=1: the teacher trains along (encode --as t --predictor simdis -o DIR) by BYOL: + 2 - 2 <u(tp0), u(tk1)>, symmetric.
 */
#include "lib/loss/loss.h"
#include "lib/loss/unit.h"

const struct param simdis_params[] = {
	{ "kinds", 0, 0, 0, "2v: semadv+temadv, 7v: all seven, or some of them", "2v" },
	{ "online", 0, 0, 1, "1: the teacher trains along", NULL },
	{ NULL, 0, 0, 0, NULL, NULL },
};

static const struct kind {
	const char *name, *target;
	bool other;              /* of the other view */
} kinds[] = {
	{ "sdv", "q", true },      { "semasv", "k", false }, { "semadv", "k", true },  { "tsv", "t", false },
	{ "tdv", "t", true },      { "temasv", "tk", false }, { "temadv", "tk", true },
};
enum { KINDS = ARRAY_SIZE(kinds) };

struct simdis {
	float *target, *norm;    /* (n, dim), (n) */
};

/* Whether a kind is one of text: 2v, 7v, or names with a plus between. */
static bool is_active(const char *text, const struct kind *kind)
{
	size_t n = strlen(kind->name);

	if (strcmp(text, "7v") == 0)
		return true;
	text = strcmp(text, "2v") == 0 ? "semadv+temadv" : text;
	for (const char *s = text; s; s = strchr(s, '+') ? strchr(s, '+') + 1 : NULL)
		if (strncmp(s, kind->name, n) == 0 && (s[n] == '+' || s[n] == '\0'))
			return true;
	return false;
}

static void add_name(char *list, size_t size, const char *prefix, const char *word, int view)
{
	char name[LOSS_NAME + 2];
	size_t n = strlen(list);

	snprintf(name, sizeof(name), " %s%s%d ", prefix, word, view);
	if (!strstr(list, name))
		snprintf(list + n - 1, size - n + 1, "%s", name);
}

/* Predictions first, so that the std that is watched is of one. */
const char *simdis_choose(const struct choice *c)
{
	static char names[LOSS_INPUTS * LOSS_NAME];

	strcpy(names, " ");
	for (int i = 0; i < 2 * KINDS; i++)
		if (is_active(choice_text(c, "kinds"), &kinds[i / 2]))
			add_name(names, sizeof(names), "p", kinds[i / 2].name, i % 2);
	for (int i = 0; i < 2 * KINDS; i++)
		if (is_active(choice_text(c, "kinds"), &kinds[i / 2]))
			add_name(names, sizeof(names), "", kinds[i / 2].target, i % 2);
	for (int i = 0; choice_value(c, "online") > 0 && i < 2; i++) {
		add_name(names, sizeof(names), "tp", "", i);
		add_name(names, sizeof(names), "tk", "", i);
	}
	return names;
}

static struct loss_input *input(struct objective *o, const char *prefix, const char *word, int view)
{
	char name[LOSS_NAME];

	snprintf(name, sizeof(name), "%s%s%d", prefix, word, view);
	for (int i = 0; i < o->input_count; i++)
		if (strcmp(o->inputs[i].value.name, name) == 0)
			return &o->inputs[i];
	bug("simdis has no '%s'", name);
}

static int check_kinds(const struct objective *o)
{
	const char *text = choice_text(&o->choice, "kinds");
	int known = 0, given = strcmp(text, "2v") == 0 ? 2 : strcmp(text, "7v") == 0 ? KINDS : 1;

	for (int i = 0; i < KINDS; i++)
		known += is_active(text, &kinds[i]);
	for (const char *s = text; (s = strchr(s, '+')); s++)
		given++;
	if (known == given)
		return 0;
	return fail_code(EXIT_USAGE,
			 "loss simdis has no kinds=%s: it is 2v, 7v, or of sdv, semasv, semadv, tsv, tdv, temasv, temadv some, a "
			 "plus between", text);
}

/* A prediction is as wide as what it predicts. */
static int check_pair(struct objective *o, const char *prefix, const char *word, const char *target)
{
	const struct tensor *p = &input(o, prefix, word, 0)->value, *t = &input(o, "", target, 0)->value;

	if (p->shape[1] == t->shape[1])
		return 0;
	return fail_code(EXIT_USAGE, "'%s' and '%s' differ in width, %lld and %lld: loss 'simdis' compares them", p->name,
			 t->name, (long long)p->shape[1], (long long)t->shape[1]);
}

int simdis_prepare(struct objective *o)
{
	struct simdis *x = o->room = xcalloc(1, sizeof(*x));
	int64_t widest = 1;

	if (check_kinds(o) < 0)
		return -1;
	for (int i = 0; i < KINDS; i++)
		if (is_active(choice_text(&o->choice, "kinds"), &kinds[i]) &&
		    check_pair(o, "p", kinds[i].name, kinds[i].target) < 0)
			return -1;
	if (choice_value(&o->choice, "online") > 0 && check_pair(o, "tp", "", "tk") < 0)
		return -1;
	for (int i = 0; i < o->input_count; i++)
		widest = MAX(widest, o->inputs[i].value.shape[1]);
	x->target = xaligned((size_t)o->rows * widest * sizeof(float));
	x->norm = xaligned(o->rows * sizeof(float));
	return 0;
}

void simdis_release(struct objective *o)
{
	struct simdis *x = o->room;

	free(x->target);
	free(x->norm);
	free(x);
}

static int count_kinds(const struct objective *o)
{
	int n = 0;

	for (int i = 0; i < KINDS; i++)
		n += is_active(choice_text(&o->choice, "kinds"), &kinds[i]);
	return n;
}

double simdis_expected(const struct objective *o)
{
	return 4 + 2 * choice_value(&o->choice, "online");
}

/* Sum over both views of the mean cosine of predictions and targets; weight times its gradient is added. */
static double match(struct objective *o, const char *prefix, const char *word, const char *target, bool other, double weight)
{
	struct simdis *x = o->room;
	double sum = 0;

	for (int view = 0; view < 2; view++) {
		struct loss_input *p = input(o, prefix, word, view);
		const struct tensor *t = &input(o, "", target, other ? 1 - view : view)->value;
		int n = o->rows, dim = (int)t->shape[1];

		unit_rows(tensor_f32(t), n, dim, x->target, x->norm);
		sum += unit_cosines(tensor_f32(&p->value), x->target, n, dim, weight / n, tensor_f32(&p->gradient)) / n;
	}
	return sum;
}

int simdis_evaluate(struct objective *o)
{
	int count = count_kinds(o);
	double student = 4, teacher = 0;

	for (int i = 0; i < KINDS; i++)
		if (is_active(choice_text(&o->choice, "kinds"), &kinds[i]))
			student -= 2 * match(o, "p", kinds[i].name, kinds[i].target, kinds[i].other, -2.0 / count) / count;
	if (choice_value(&o->choice, "online") > 0)
		teacher = 2 - match(o, "tp", "", "tk", true, -1);
	objective_set(o, "loss", student + teacher);
	if (choice_value(&o->choice, "online") > 0)
		objective_set(o, "teacher", teacher);
	return 0;
}
