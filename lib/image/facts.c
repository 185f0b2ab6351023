#include "lib/image/facts.h"

#include "lib/base/rng.h"
#include "lib/tensor/names.h"

/* --- from the options --- */

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
		for (int k = 0; i == 0 && k < f->views; k++)
			recipe_fill(v, f->view[k].fill);
	}
	return 0;
}

/* Lists the samples that are served. Without --split, training takes the split train where there is one. */
static int *choose_samples(struct facts *f, const struct maker_options *o, const struct dataset *d)
{
	const char *split = o->split;
	int *served, count;

	if (!*split)
		split = o->eval || dataset_split_count(d, SPLIT_TRAIN) == 0 ? "all" : "train";
	format(f->split, sizeof(f->split), "%s", split);
	served = dataset_choose(d, split, &count);
	f->samples = served ? count : 0;
	return served;
}

static int fill_length(struct facts *f, const struct maker_options *o)
{
	if (!f->eval && f->samples < f->batch)
		return fail_code(EXIT_USAGE,
				 "unable to fill a batch of %lld from %lld images of the split '%s': give --batch %lld or less",
				 (long long)f->batch, (long long)f->samples, f->split, (long long)f->samples);
	f->steps_per_epoch = f->eval ? (f->samples + f->batch - 1) / f->batch : f->samples / f->batch;
	f->epochs = f->eval ? 1 : o->epochs;
	f->steps = f->steps_per_epoch * f->epochs;
	return 0;
}

/* Refuses what would be without effect. */
static int check_pairs(const struct maker_options *o, int64_t full)
{
	struct law law = recipe_law(&o->recipe, 0);

	if (o->eval || law.frame == FRAME_CENTRE)
		return 0;
	if (recipe_pairs(&law) && full < 2)
		return fail_code(EXIT_USAGE,
				 "iou and drop of a recipe are of two views: give --views 2 or more, or leave them out");
	if (law.v[LAW_MIX] < 1 && !recipe_bounds(&law))
		return fail_code(EXIT_USAGE, "mix of a recipe says how many pairs have its iou: give iou=LEAST-GREATEST, too");
	return 0;
}

/* Which of the first full views have a partner that is drawn by a recipe, too. */
static void pair_views(struct facts *f, int64_t full)
{
	for (int v = 0; v + 1 < full; v += 2)
		f->view[v].paired = f->view[v + 1].paired = f->view[v].law.frame == FRAME_RANDOM;
}

/* Puts the mixed view behind those of full size. */
static int fill_mixed(struct facts *f, const struct maker_options *o, int64_t full)
{
	struct view_spec *spec = &f->view[full];
	int of[2], end = 0;

	f->mixed = -1;
	if (!*o->mix)
		return 0;
	if (sscanf(o->mix, "%d+%d%n", &of[0], &of[1], &end) != 2 || o->mix[end] || of[0] == of[1] || MIN(of[0], of[1]) < 0 ||
	    MAX(of[0], of[1]) >= full)
		return fail_code(EXIT_USAGE,
				 "--mix '%.40s' does not name two of the %lld views of full size, as 0+1 does: give others, or "
				 "more --views", o->mix, (long long)full);
	if (o->eval)
		return fail_code(EXIT_USAGE, "a mixed view is for training: leave --mix or --eval out");
	*spec = f->view[of[0]];
	spec->mixed = true;
	memcpy(spec->of, of, sizeof(of));
	f->mixed = (int)full;
	format(f->mix, sizeof(f->mix), "%d+%d", of[0], of[1]);
	return 0;
}

/* The last half of the views of full size, one of three, is of members of bags. */
static int fill_bags(struct facts *f, const struct maker_options *o, int64_t full)
{
	f->full = f->from = (int)full;
	if (!*o->bags)
		return 0;
	if (o->eval)
		return fail_code(EXIT_USAGE, "bags are for training: leave --bags or --eval out");
	if (full < 2)
		return fail_code(EXIT_USAGE, "the last half of the views is of members of bags: give --views 2 or more");
	f->from = (int)(full + 1) / 2;
	if (f->from % 2 == 1 && recipe_pairs(&f->view[0].law))
		return fail_code(EXIT_USAGE,
				 "iou and drop of a recipe are of two views of one image, and view %d is of a member of its bag: "
				 "give --views 4, or leave them out", f->from);
	return 0;
}

/* Reads the bags, which only training samples have. */
static int open_bags(struct facts *f, const struct maker_options *o, const struct dataset *d, const int *served)
{
	if (!*o->bags)
		return 0;
	for (int64_t i = 0; i < f->samples; i++)
		if (d->samples[served[i]].split != SPLIT_TRAIN)
			return fail_code(EXIT_USAGE, "only training images have bags: leave --bags or --split %s out", f->split);
	if (bags_open(&f->members, o->bags, d) < 0)
		return -1;
	format(f->bags, sizeof(f->bags), "%s", f->members.fingerprint);
	return 0;
}

/* Views of full size come first, so that they are drawn alike with and without others. */
static int fill_views(struct facts *f, const struct maker_options *o)
{
	struct choice eval = recipe_eval(&o->recipe);
	int64_t full = o->views ? o->views : o->eval ? 1 : 2, whole = full + (*o->mix ? 1 : 0);
	struct crops crops;

	if (check_pairs(o, full) < 0 || crops_parse(&crops, o->crops, &o->recipe) < 0)
		return -1;
	if (crops.count && o->eval)
		return fail_code(EXIT_USAGE,
				 "--crops are for training, evaluation is by whole views: leave --crops or --eval out");
	if (crops.count > MAKER_VIEWS - whole)
		return fail_code(EXIT_USAGE, "unable to make %lld views and %lld crops of each image: %d together are the most",
				 (long long)whole, (long long)crops.count, MAKER_VIEWS);
	f->size = o->size ? o->size : recipe_of(&o->recipe)->size;
	f->views = whole + crops.count;
	for (int v = 0; v < full; v++)
		f->view[v] = (struct view_spec){ .size = (int)f->size,
						 .law = recipe_law(o->eval && v == 0 ? &eval : &o->recipe, v) };
	for (int64_t v = whole; v < f->views; v++)
		f->view[v] = crops.spec;
	pair_views(f, full);
	format(f->crops, sizeof(f->crops), "%s", crops.spelling);
	return fill_mixed(f, o, full) < 0 ? -1 : fill_bags(f, o, full);
}

static void fill_names(struct facts *f, const struct maker_options *o, const struct dataset *d)
{
	format(f->data, sizeof(f->data), "%s", d->fingerprint);
	format(f->holdout, sizeof(f->holdout), "%s", d->holdout);
	format(f->labels, sizeof(f->labels), "%s", d->labels);
	choice_spell(&o->recipe, f->recipe, sizeof(f->recipe));
	if (f->eval && f->views == 1 && recipe_of(&o->recipe)->frame != FRAME_CENTRE)
		format(f->recipe, sizeof(f->recipe), "%s", recipe_eval(&o->recipe).spelling);
}

int *facts_fill(struct facts *f, const struct maker_options *o, const struct dataset *d)
{
	int *served;

	*f = (struct facts){ .eval = o->eval, .exif = o->exif, .fast = o->fast, .batch = o->batch, .seed = o->seed };
	f->name_max = d->name_max;
	if (fill_views(f, o) < 0)
		return NULL;
	fill_names(f, o, d);
	served = fill_stats(f, o) < 0 ? NULL : choose_samples(f, o, d);
	if (served && (fill_length(f, o) < 0 || open_bags(f, o, d, served) < 0)) {
		free(served);
		return NULL;
	}
	return served;
}

/* --- which sample stands where --- */

struct span facts_span(const struct facts *f, int64_t step, int part, int parts)
{
	int64_t first = step % f->steps_per_epoch * f->batch, rows = MIN(f->batch, f->samples - first);

	return (struct span){
		.epoch = (uint32_t)(step / f->steps_per_epoch),
		.begin = (uint32_t)(first + part * rows / parts),
		.end = (uint32_t)(first + (part + 1) * rows / parts),
	};
}

uint32_t facts_pick(const struct facts *f, uint32_t epoch, uint32_t position, int attempt)
{
	struct rng r;

	if (f->eval)
		return position;
	if (attempt == 0)
		return rng_permute(f->seed, epoch, RNG_ORDER, (uint32_t)f->samples, position);
	r = rng_at(f->seed, epoch, position, (uint16_t)attempt, RNG_REPLACE);
	return rng_below(&r, (uint32_t)f->samples);
}

/* --- what can be asked for --- */

bool facts_offer(const struct facts *f, int i, struct tensor *spec)
{
	int64_t batch = f->batch, views = f->views;
	char name[16];

	if (i < views) {
		int64_t size = f->view[i].size;

		snprintf(name, sizeof(name), "view%d", i);
		*spec = tensor_borrow(name, U8, 4, (int64_t[]){ batch, size, size, 3 }, NULL);
		return true;
	}
	switch (i - views) {
	case 0: *spec = tensor_borrow("index", I64, 1, &batch, NULL); return true;
	case 1: *spec = tensor_borrow("label", I32, 1, &batch, NULL); return true;
	case 2: *spec = f->eval ? tensor_borrow("split", I32, 1, &batch, NULL) : tensor_borrow("mix", F32, 1, &batch, NULL);
		return f->eval || f->mixed >= 0;
	case 3: *spec = tensor_borrow("name", U8, 2, (int64_t[]){ batch, MAX((int64_t)f->name_max, 1) }, NULL); return f->eval;
	}
	return false;
}

int facts_offer_find(const struct facts *f, const char *name, struct tensor *spec)
{
	int view;

	for (int i = 0; facts_offer(f, i, spec); i++)
		if (strcmp(spec->name, name) == 0)
			return i;
	if (name_find(name, &view) == &name_rows[NAME_VIEW])
		return fail_code(EXIT_USAGE, "unable to give '%s': there are %lld views; %s", name, (long long)f->views,
				 name_remedy(name));
	return fail_code(EXIT_USAGE, "unable to give '%s': %s", name, name_remedy(name));
}
