/* The table of names: which are in it, of which view, whether a loss sends a gradient, and what is said where one is missing. */
#include "lib/tensor/names.h"
#include "tests/check.h"

enum { NONE = -1 };

static void test_find(void)
{
	static const struct { const char *name; int kind, view; } cases[] = {
		{ "view0", NAME_VIEW, 0 }, { "view16", NAME_VIEW, 16 }, { "feature3", NAME_FEATURE, 3 },
		{ "q0", NAME_HEAD, 0 }, { "q12", NAME_HEAD, 12 }, { "p7", NAME_PREDICTOR, 7 },
		{ "k1", NAME_KEY, 1 }, { "t2", NAME_TEACHER, 2 }, { "tfeature3", NAME_TEACHER_FEATURE, 3 },
		{ "label", NAME_LABEL, 0 }, { "index", NAME_INDEX, 0 }, { "split", NAME_SPLIT, 0 },
		{ "name", NAME_IMAGE, 0 }, { "q2147483647", NAME_HEAD, 2147483647 }, { "", NONE, 0 },
		{ "q", NONE, 0 }, { "qx", NONE, 0 }, { "q-1", NONE, 0 }, { "q+1", NONE, 0 },
		{ "q 1", NONE, 0 }, { "q1 ", NONE, 0 }, { "q1x", NONE, 0 }, { "q1.0", NONE, 0 },
		{ "q01", NONE, 0 }, { "q00", NONE, 0 }, { "Q1", NONE, 0 }, { "q2147483648", NONE, 0 },
		{ "q4294967296", NONE, 0 }, { "q99999999999999999999", NONE, 0 }, { "0", NONE, 0 },
		{ "view", NONE, 0 }, { "views0", NONE, 0 }, { "label0", NONE, 0 }, { "labels", NONE, 0 },
		{ "psemadv1", NAME_PREDICTOR, 1 }, { "p1x0", NONE, 0 },
		{ "pSdv0", NONE, 0 }, { "psemadv", NONE, 0 }, { "psdv01", NONE, 0 }, { "tp0", NAME_TEACHER_PREDICTOR, 0 },
		{ "tpb3", NAME_TEACHER_PREDICTOR, 3 }, { "tk2", NAME_TEACHER_KEY, 2 }, { "mix", NAME_MIX, 0 },
		{ "kx0", NONE, 0 }, { "mix0", NONE, 0 }, { "names", NONE, 0 }, { "tfeature", NONE, 0 }, { "ttfeature0", NONE, 0 },
		{ "afeature0", NONE, 0 }, { "d:q0", NONE, 0 }, { "mask0", NONE, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int view = 77, kind;
		const struct name *n = name_find(cases[i].name, &view);
		char text[80];

		kind = n ? (int)(n - name_rows) : NONE;
		snprintf(text, sizeof(text), cases[i].kind == NONE ? "'%s' is no name of the table" : "'%s' is one of the table",
			 cases[i].name);
		check(text, kind == cases[i].kind && view == (n ? cases[i].view : 77), "row %d, view %d", kind, view);
	}
}

static void test_gradients(void)
{
	static const char *const trained[] = { "feature0", "q1", "p15", "psdv0", "tp1" };
	static const char *const others[] = { "view0", "k0", "t0", "tk0", "mix", "tfeature0", "label", "index", "split", "name",
						"q", "p01", "mask0" };

	for (size_t i = 0; i < ARRAY_SIZE(trained); i++)
		check(trained[i], name_is_trained(trained[i]), "it has no gradient");
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		check(others[i], !name_is_trained(others[i]), "it has a gradient");
	check("a feature may have one, outputs of heads must", name_rows[NAME_FEATURE].gradient == GRADIENT_MAY &&
	      name_rows[NAME_HEAD].gradient == GRADIENT_MUST && name_rows[NAME_PREDICTOR].gradient == GRADIENT_MUST, "another");
}

static void test_remedies(void)
{
	static const struct { const char *name, *part; } cases[] = {
		{ "view2", "--crops" }, { "q3", "--head" }, { "p0", "--predictor" }, { "k9", "keys" }, { "t0", "--as t" },
		{ "tfeature0", "--as t" }, { "split", "--eval" }, { "name", "--eval" }, { "mask0", "no stage" },
		{ "tk0", "--as tk" }, { "mix", "--mix" }, { "q01", "no stage" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[80];

		snprintf(text, sizeof(text), "who lacks '%s' is told of '%s'", cases[i].name, cases[i].part);
		check(text, strstr(name_remedy(cases[i].name), cases[i].part) != NULL, "%s", name_remedy(cases[i].name));
	}
	for (int i = 0; i < NAMES; i++)
		check(name_rows[i].prefix, *name_rows[i].prefix && *name_rows[i].maker && *name_rows[i].remedy,
		      "a row with a gap");
}

int main(void)
{
	test_find();
	test_gradients();
	test_remedies();
	return check_done();
}
