/* The level of instructions: what SPRAT_ISA may say, what it is answered, and which row of a table follows. */
#include "lib/base/isa.h"
#include "tests/check.h"

static void test_names(enum isa most)
{
	char name[80];

	for (int i = 0; i < ISAS; i++) {
		bool taken = isa_choose(isa_name(i)) == 0;

		snprintf(name, sizeof(name), "%s is %s", isa_name(i), i <= most ? "taken" : "refused");
		if (i <= most)
			check(name, taken && isa() == i, "%s", taken ? isa_name(isa()) : why());
		else
			check(name, !taken && why_code() == EXIT_USAGE && strstr(why(), isa_name(i)) &&
			      strstr(why(), isa_name(most)) && isa() == most, "%s", taken ? "taken" : why());
	}
	if (most == ISAS - 1)
		check_skip("a level that the machine lacks", "it has them all");
}

static void test_unknown(enum isa most)
{
	static const char *const names[] = { "mmx", "AVX2", "avx", "avx512 ", "amx,avx2" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		bool good = isa_choose(names[i]) < 0 && why_code() == EXIT_USAGE && strstr(why(), names[i]) && isa() == most;
		char name[80];

		for (int k = 0; k < ISAS; k++)
			good &= strstr(why(), isa_name(k)) != NULL;
		snprintf(name, sizeof(name), "'%s' is refused, with the names that there are", names[i]);
		check(name, good, "%s", why());
	}
}

static void test_rows(enum isa most)
{
	static const int two[] = { 0, 1 }, all[ISAS] = { 0, 1, 2, 3, 4 };

	for (int i = 0; i <= most; i++) {
		isa_choose(isa_name(i));
		check("a table's row is the level's, or its last", ISA_ROW(all) == i && ISA_ROW(two) == MIN(i, 1),
		      "%d and %d of level %d", ISA_ROW(all), ISA_ROW(two), i);
	}
}

static void test_environment(enum isa most)
{
	setenv("SPRAT_ISA", "base", 1);
	check("the environment lowers", isa_init() == 0 && isa() == ISA_PLAIN, "%s", isa_name(isa()));
	setenv("SPRAT_ISA", "", 1);
	check("an empty name is none", isa_init() == 0 && isa() == most, "%s", isa_name(isa()));
	setenv("SPRAT_ISA", "mmx", 1);
	check("a wrong one is refused", isa_init() < 0 && isa() == most, "%s", isa_name(isa()));
}

int main(void)
{
	enum isa most;

	isa_choose(NULL);
	most = isa();
	test_names(most);
	isa_choose(NULL);
	test_unknown(most);
	test_rows(most);
	test_environment(most);
	return check_done();
}
