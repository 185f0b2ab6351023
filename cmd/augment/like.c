/* like.c - --like MODEL: the options of the run that made a model, and its hold-out, for where it is evaluated */
#include "cmd/augment/augment.h"

#include <unistd.h>

#include "lib/tensor/tensors.h"

static const char *const like_names[LIKES] = { "labels", "holdout" };

/* What the file says under a key, kept for the life of the program; "" when it says nothing. */
static const char *text_of(const struct tensors *f, const char *key)
{
	const char *value = tensors_meta(f, key);

	return value ? xstrdup(value) : "";
}

static const char *fact(const struct tensors *f, const char *name)
{
	char key[32];

	snprintf(key, sizeof(key), "fact.%s", name);
	return text_of(f, key);
}

/* A fact spells all parameters out. Those that are the recipe's own count as not given: odd views have others. */
static int take_recipe(struct choice *c, const char *spelling)
{
	struct choice plain;

	if (choice_parse(c, &recipe_table, spelling) < 0 || choice_parse(&plain, &recipe_table, c->entry->name) < 0)
		return -1;
	for (int i = 0; i < PARAMS_MAX; i++)
		c->given[i] = c->given[i] && (c->value[i] != plain.value[i] || c->most[i] != plain.most[i]);
	return 0;
}

static int take_options(struct options *o, const struct tensors *f)
{
	const char *recipe = fact(f, "recipe"), *size = fact(f, "size");

	o->maker.crops = o->maker.eval ? "" : fact(f, "crops");
	o->maker.mix = o->maker.eval ? "" : fact(f, "mix");
	o->maker.mean = fact(f, "mean");
	o->maker.std = fact(f, "std");
	o->maker.exif = strcmp(fact(f, "exif"), "yes") == 0;
	o->maker.fast = strcmp(fact(f, "fast"), "yes") == 0;
	o->like_data = fact(f, "data");
	o->like_spec[LIKE_LABELS] = text_of(f, "made.labels");
	o->like_spec[LIKE_HOLDOUT] = text_of(f, "made.holdout");
	/* without a table it is that of the folders */
	o->like_print[LIKE_LABELS] = *o->like_spec[LIKE_LABELS] ? fact(f, "labels") : "";
	o->like_print[LIKE_HOLDOUT] = fact(f, "holdout");
	if (!*size || !*o->maker.mean || !*o->maker.std)
		return fail_code(EXIT_USAGE, "it does not say how it was trained: give --size, --mean and --std");
	if (parse_int(size, &o->maker.size) < 0 || o->maker.size < 1 || o->maker.size > VIEW_SIZE_MOST)
		return fail("it names a size of '%s'", size);
	return *recipe ? take_recipe(&o->maker.recipe, recipe) : 0;
}

int like_defaults(struct options *o)
{
	struct tensors f;
	int r = tensors_open(&f, o->like);
	char reason[512];

	if (r < 0)
		return -1;
	r = take_options(o, &f);
	tensors_close(&f);
	format(reason, sizeof(reason), "%s", why());
	return r < 0 ? fail_code(why_code(), "unable to do as '%s' was made: %s", o->like, reason) : 0;
}

/* --- what the run held out, and its table of classes --- */

static int apply(struct dataset *d, int which, const char *spec)
{
	return which == LIKE_LABELS ? dataset_label(d, spec) : dataset_holdout(d, spec);
}

/* Does again what the run did, and sees to it that the same comes of it. */
static int repeat(const struct options *o, struct dataset *d, int which)
{
	const char *spec = o->like_spec[which], *print = which == LIKE_LABELS ? d->labels : d->holdout, *name = like_names[which];
	int64_t n;

	if (!*spec)
		return fail_code(EXIT_USAGE, "'%s' does not say what its run held out: give --holdout FILE|N", o->like);
	if (parse_int(spec, &n) < 0 && access(spec, R_OK) < 0)
		return fail("unable to do as '%s' did: its --%s '%s' is not there any more; give --%s FILE", o->like, name, spec,
			    name);
	if (apply(d, which, spec) < 0)
		return -1;
	if (strcmp(print, o->like_print[which]) != 0)
		return fail("unable to do as '%s' did: its --%s '%s' says something else now; give --%s FILE", o->like, name,
			    spec, name);
	return 0;
}

int like_apply(struct options *o, struct dataset *d)
{
	const char **given[LIKES] = { &o->labels, &o->holdout };

	for (int i = 0; i < LIKES; i++) {
		if (*given[i] && apply(d, i, *given[i]) < 0)
			return -1;
		if (*given[i] || !o->like || !*o->like_print[i])
			continue;
		if (strcmp(o->like_data, d->fingerprint) != 0) {
			note("'%s' was made of other data: its --%s is not taken over", o->like, like_names[i]);
			continue;
		}
		if (repeat(o, d, i) < 0)
			return -1;
		*given[i] = o->like_spec[i];
	}
	return 0;
}

void like_record(const struct options *o, struct record *r)
{
	const char *given[LIKES] = { o->labels, o->holdout };

	for (int i = 0; i < LIKES; i++) {
		char name[32], *path;
		int64_t n;

		if (!given[i])
			continue;
		path = parse_int(given[i], &n) == 0 ? NULL : realpath(given[i], NULL);
		snprintf(name, sizeof(name), "made.%s", like_names[i]);
		record_set_text(r, name, path ? path : given[i]);
		free(path);
	}
}
