/* schedule.c - learning-rate schedules: a factor of the base rate */
#include "lib/nn/train/optimiser.h"

#include <math.h>

static double cosine(const struct choice *c, double at, double epochs)
{
	double start = choice_value(c, "after") != 0 ? choice_value(c, "warmup") : 0;

	return 0.5 * (1 + cos(M_PI * MAX(0, at - start) / (epochs - start)));
}

/* at=60+80: the factor once more from each of these epochs on. */
static double steps(const struct choice *c, double at, double epochs)
{
	double factor = 1;
	char *end;

	(void)epochs;
	for (const char *s = choice_text(c, "at"); *s; s = *end == '+' ? end + 1 : end) {
		double epoch = strtod(s, &end);

		if (end == s)
			break;
		if (at >= epoch)
			factor *= choice_value(c, "factor");
	}
	return factor;
}

static double constant(const struct choice *c, double at, double epochs)
{
	(void)c, (void)at, (void)epochs;
	return 1;
}

#define COMMON \
	{ "warmup", 0, 0, 10000, "epochs of linear warm-up", NULL }, \
	{ "by", 0, 0, 0, "epoch: the rate changes once an epoch; step: every step", "epoch" }
static const struct param constant_params[] = { COMMON, { NULL, 0, 0, 0, NULL, NULL } };
static const struct param cosine_params[] = {
	COMMON,
	{ "after", 0, 0, 1, "1: it begins where the warm-up ends; 0: where the run begins", NULL },
	{ NULL, 0, 0, 0, NULL, NULL }
};
static const struct param step_params[] = {
	COMMON,
	{ "at", 0, 0, 0, "epochs where the rate drops, joined by +", "60+80" },
	{ "factor", 0.1, 0, 1, "what it is multiplied by there", NULL },
	{ NULL, 0, 0, 0, NULL, NULL }
};

static const struct schedule schedules[] = {
	{ { "cosine", "half a cosine from the base rate to 0", cosine_params }, cosine },
	{ { "step", "drops at given epochs", step_params }, steps },
	{ { "constant", "the base rate", constant_params }, constant },
};
const struct table schedule_table = TABLE("schedule", schedules);

int schedule_check(const struct choice *c)
{
	const char *by = choice_text(c, "by"), *at = strcmp(c->entry->name, "step") ? "" : choice_text(c, "at");
	char *end;

	if (strcmp(by, "step") != 0 && strcmp(by, "epoch") != 0)
		return fail_code(EXIT_USAGE, "schedule '%s': by=%s is neither by=epoch nor by=step", c->entry->name, by);
	for (; *at; at = *end ? end + 1 : end) {
		strtod(at, &end);
		if (end == at || (*end && *end != '+') || (*end && !end[1]))
			return fail_code(EXIT_USAGE, "schedule '%s': at=%s is no list of epochs such as 60+80", c->entry->name,
					 choice_text(c, "at"));
	}
	return 0;
}

double schedule_rate(const struct choice *choice, double base, int64_t step, int64_t steps_per_epoch, double epochs)
{
	const struct schedule *s = (const struct schedule *)choice->entry;
	bool by_step = !strcmp(choice_text(choice, "by"), "step");
	double warmup = choice_value(choice, "warmup"), exact = (double)step / steps_per_epoch;
	double at = by_step ? exact : (double)(step / steps_per_epoch);

	if (exact < warmup)      /* the warm-up always moves by steps: its last one is the base rate */
		return base * MIN(1, (step + 1) / (warmup * steps_per_epoch));
	return base * s->factor(choice, at, epochs);
}
