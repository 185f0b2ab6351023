/* facts.c - the run facts of a maker: options checked against the data set, defaults filled in from the recipe */
#include "lib/image/maker_internal.h"

static int parse_three(const char *option, const char *text, float v[3])
{
	char copy[128], *rest = copy, *word;
	double x;
	int n = 0;

	format(copy, sizeof(copy), "%s", text);
	while ((word = strsep(&rest, ",")) != NULL && n < 4) {
		if (n == 3 || parse_real(word, &x) < 0 || x < 0 || x > 1 || (x == 0 && strcmp(option, "std") == 0))
			n = 3;
		else
			v[n] = (float)x;
		n++;
	}
	if (n != 3)
		return fail_code(EXIT_USAGE, "--%s '%s' is not three numbers from 0 to 1, as in 0.485,0.456,0.406", option, text);
	return 0;
}

static int fill_stats(struct facts *f, const struct maker_options *o)
{
	const float(*stats)[3] = recipe_of(&o->recipe)->stats;
	const char *given[2] = { o->mean, o->std }, *names[2] = { "mean", "std" };
	char *texts[2] = { f->mean, f->std };

	for (int i = 0; i < 2; i++) {
		float v[3];

		memcpy(v, stats[i], sizeof(v));
		if (*given[i] && parse_three(names[i], given[i], v) < 0)
			return -1;
		format(texts[i], sizeof(f->mean), "%g,%g,%g", v[0], v[1], v[2]);
	}
	return 0;
}

/* Lists the samples that are served. Without --split, training takes the split train where there is one. */
static int choose_samples(struct maker *m, const struct maker_options *o)
{
	const char *split = o->split;

	if (!*split)
		split = o->eval || dataset_split_count(m->d, SPLIT_TRAIN) == 0 ? "all" : "train";
	format(m->facts.split, sizeof(m->facts.split), "%s", split);
	m->served = dataset_choose(m->d, split, &m->served_count);
	return m->served ? 0 : -1;
}

static int fill_length(struct facts *f, const struct maker_options *o)
{
	if (!f->eval && f->samples < f->batch)
		return fail_code(EXIT_USAGE, "unable to fill a batch of %lld from %lld images of the split '%s': give --batch %lld or less",
				 (long long)f->batch, (long long)f->samples, f->split, (long long)f->samples);
	f->steps_per_epoch = sampler_steps(f->samples, (int)f->batch, f->eval);
	f->epochs = f->eval ? 1 : o->epochs;
	f->steps = f->steps_per_epoch * f->epochs;
	return 0;
}

int facts_fill(struct maker *m, const struct maker_options *o)
{
	const struct recipe *r = recipe_of(&o->recipe);
	struct facts *f = &m->facts;

	*f = (struct facts){ .eval = o->eval, .exif = o->exif, .fast = o->fast, .batch = o->batch, .seed = o->seed };
	f->size = o->size ? o->size : r->size;
	f->views = o->views ? o->views : o->eval ? 1 : 2;
	format(f->data, sizeof(f->data), "%s", m->d->fingerprint);
	format(f->holdout, sizeof(f->holdout), "%s", m->d->holdout);
	format(f->labels, sizeof(f->labels), "%s", m->d->labels);
	choice_spell(&o->recipe, f->recipe, sizeof(f->recipe));
	if (f->eval && f->views == 1 && r->frame != FRAME_CENTRE)
		format(f->recipe, sizeof(f->recipe), "%s", recipe_eval(&o->recipe).spelling);
	if (fill_stats(f, o) < 0 || choose_samples(m, o) < 0)
		return -1;
	f->samples = m->served_count;
	return fill_length(f, o);
}
