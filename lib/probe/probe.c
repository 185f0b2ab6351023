#include "lib/probe/probe.h"
#include "lib/probe/bagging.h"
#include "lib/probe/embed.h"
#include "lib/probe/export.h"
#include "lib/probe/knn.h"
#include "lib/probe/linear.h"
#include "lib/probe/metrics.h"
#include "lib/probe/outfile.h"
#include "lib/probe/query.h"
#include "lib/tensor/safetensors.h"

#include <math.h>

#define PARAMS_END { NULL, 0, 0, 0, NULL, NULL }

static void print_sets(FILE *out, const struct labelled *sets)
{
	fprintf(out, ", \"train\": %lld, \"test\": %lld", (long long)sets->train_count, (long long)sets->test_count);
}

/* --- knn --- */

static const struct param knn_params[] = {
	{ "k", 200, 1, 1e6, "neighbours of the weighted vote", NULL },
	{ "t", 0.1, 1e-3, 100, "its temperature: weights are exp(cosine/t)", NULL },
	{ "nn", 21, 1, KNN_BEST, "fixed k of the plain Euclidean vote, beside the best of 1, 3, .. 101", NULL },
	PARAMS_END
};

static int run_knn(const struct choice *c, const struct features *f, FILE *out)
{
	struct labelled sets;
	struct knn_result r;
	int nn = (int)choice_value(c, "nn");

	if (features_labelled(f, "knn", &sets) < 0)
		return -1;
	knn_run(&sets, (int)choice_value(c, "k"), choice_value(c, "t"), nn, &r);
	print_sets(out, &sets);
	fprintf(out, ", \"k\": %d, \"t\": %g, \"top1\": %.4f, \"top5\": %.4f", r.k, choice_value(c, "t"), r.top1, r.top5);
	fprintf(out, ", \"best_nn\": %.4f, \"best_nn_k\": %d, \"fixed_nn\": %.4f, \"fixed_nn_k\": %d", r.best, r.best_k, r.fixed,
		r.fixed_k);
	return 0;
}

static int check_knn(const struct choice *c)
{
	int nn = (int)choice_value(c, "nn");

	if (choice_value(c, "k") != (int)choice_value(c, "k"))
		return fail_code(EXIT_USAGE, "parameter 'k=%g' of probe 'knn' is no whole number", choice_value(c, "k"));
	if (nn % 2 == 0 || nn != choice_value(c, "nn"))
		return fail_code(EXIT_USAGE, "parameter 'nn=%g' of probe 'knn' is not odd", choice_value(c, "nn"));
	return 0;
}

/* --- linear --- */

static const struct param linear_params[] = {
	{ "lambda", 0, 0, 1e3, "strength of the L2 penalty; 0: chosen on held-out training samples", NULL },
	PARAMS_END
};

static int run_linear(const struct choice *c, const struct features *f, FILE *out)
{
	struct labelled sets;
	struct linear_result r;

	if (features_labelled(f, "linear", &sets) < 0)
		return -1;
	linear_run(&sets, choice_value(c, "lambda"), &r);
	print_sets(out, &sets);
	fprintf(out, ", \"top1\": %.4f, \"top5\": %.4f, \"lambda\": %.4g, \"c\": %.4g", r.top1, r.top5, r.lambda, r.c);
	if (r.fits)
		fprintf(out, ", \"held_out\": %.4f", r.held_out);
	return 0;
}

/* --- metrics --- */

static const struct param metrics_params[] = {
	{ "split", 0, 0, 0, "samples to measure: train or test", "test" },
	{ "each", 0, 0, 1e9, "at most so many of each class, the first ones; 0: all", NULL },
	PARAMS_END
};

static int check_metrics(const struct choice *c)
{
	const char *split = choice_text(c, "split");

	if (strcmp(split, "train") != 0 && strcmp(split, "test") != 0)
		return fail_code(EXIT_USAGE, "parameter 'split=%s' of probe 'metrics' is neither train nor test", split);
	return 0;
}

/* Rows to measure into pick; returns how many. */
static int64_t pick_each(const struct samples *set, int64_t each, int64_t *pick)
{
	int64_t *seen, n = 0;
	int32_t highest = 0;

	for (int64_t i = 0; i < set->count; i++)
		highest = MAX(highest, set->label[i]);
	seen = xcalloc(highest + 1, sizeof(*seen));
	for (int64_t i = 0; i < set->count; i++)
		if (each == 0 || seen[MAX(set->label[i], 0)]++ < each)
			pick[n++] = i;
	free(seen);
	return n;
}

static void print_number(FILE *out, const char *name, double x)
{
	if (!isnan(x))
		fprintf(out, ", \"%s\": %.9g", name, x);
}

static void print_top(FILE *out, const char *name, const double *top)
{
	if (isnan(top[0]))
		return;
	fprintf(out, ", \"%s\": [", name);
	for (int t = 0; t < METRICS_TOP; t++)
		fprintf(out, "%s%.4f", t ? ", " : "", top[t]);
	fputc(']', out);
}

static void print_metrics(const struct features *f, const char *split, int64_t n, const struct metrics *m, FILE *out)
{
	fprintf(out, ", \"split\": \"%s\", \"samples\": %lld, \"classes\": %d, \"views\": %d", split, (long long)n, m->classes,
		f->views);
	print_number(out, "uniformity", m->uniformity[0]);
	print_number(out, "uniformity_sd", m->uniformity[1]);
	print_number(out, "intra_class_alignment", m->intra_class[0]);
	print_number(out, "intra_class_alignment_sd", m->intra_class[1]);
	print_number(out, "alignment_d_sd", m->alignment[0]);
	print_number(out, "alignment_sd_sd", m->alignment[1]);
	print_top(out, "d_sd", m->discrimination[0]);
	print_top(out, "sd_sd", m->discrimination[1]);
	if (f->views < FEATURE_VIEWS)
		fprintf(out, ", \"left_out\": \"what compares views: give augment --views 3\"");
}

static int run_metrics(const struct choice *c, const struct features *f, FILE *out)
{
	const char *split = choice_text(c, "split");
	const struct samples *set = &f->set[strcmp(split, "train") == 0 ? TRAIN : TEST];
	int64_t *pick = xcalloc(set->count, sizeof(*pick)), n = pick_each(set, (int64_t)choice_value(c, "each"), pick);
	float *x[FEATURE_VIEWS] = { NULL };
	int32_t *label = xcalloc(n, sizeof(*label));
	struct metrics m;

	for (int64_t i = 0; i < n; i++)
		label[i] = set->label[pick[i]];
	for (int v = 0; n >= 2 && v < f->views; v++) {
		x[v] = xaligned(n * f->dim * sizeof(float));
		for (int64_t i = 0; i < n; i++)
			memcpy(x[v] + i * f->dim, set->x[v] + pick[i] * f->dim, f->dim * sizeof(float));
	}
	if (n >= 2) {
		metrics_run((const float *const *)x, f->views, n, f->dim, label, &m);
		print_metrics(f, split, n, &m, out);
	}
	for (int v = 0; v < FEATURE_VIEWS; v++)
		free(x[v]);
	free(label);
	free(pick);
	if (n < 2)
		return fail_code(EXIT_USAGE, "metrics needs two samples of split %s and there are %lld", split, (long long)n);
	return 0;
}

/* --- export --- */

static const struct param export_params[] = {
	{ "file", 0, 0, 0, "where to, PATH.safetensors or PATH.npy", "features.safetensors" },
	PARAMS_END
};

static int check_export(const struct choice *c)
{
	const char *path = choice_text(c, "file");

	return features_format(path) < 0 ? -1 : outfile_check(path);
}

static int run_export(const struct choice *c, const struct features *f, FILE *out)
{
	const char *path = choice_text(c, "file");

	fprintf(out, ", \"train\": %lld, \"test\": %lld, \"dim\": %lld, \"views\": %d", (long long)f->set[TRAIN].count,
		(long long)f->set[TEST].count, (long long)f->dim, f->views);
	outfile_print(out, "file", path);
	return features_export(f, path);
}

/* --- bags --- */

static const struct param bags_params[] = {
	{ "k", 5, 1, 1000, "images in a bag, beside its own", NULL },
	{ "file", 0, 0, 0, "where to", "bags.safetensors" },
	PARAMS_END
};

static int check_bags(const struct choice *c)
{
	if (choice_value(c, "k") != (int)choice_value(c, "k"))
		return fail_code(EXIT_USAGE, "parameter 'k=%g' of probe 'bags' is no whole number", choice_value(c, "k"));
	return outfile_check(choice_text(c, "file"));
}

/* Bags by the numbers of the samples in the data set of count; -1 for those that are in no training split. */
static int write_bags(const struct features *f, const struct choice *c, const int32_t *bag, int64_t count)
{
	const struct samples *set = &f->set[TRAIN];
	int64_t k = (int64_t)choice_value(c, "k");
	struct metadata meta[] = {
		{ "fact.data", (char *)f->data }, { "fact.holdout", (char *)f->holdout }, { "on", (char *)f->on }
	};
	struct tensor t = tensor_new("bags", I32, 2, (int64_t[]){ count, k });
	int r;

	for (int64_t i = 0; i < count * k; i++)
		tensor_i32(&t)[i] = -1;
	for (int64_t i = 0; i < set->count; i++)
		for (int64_t j = 0; j < k; j++)
			tensor_i32(&t)[set->index[i] * k + j] = (int32_t)set->index[bag[i * k + j]];
	r = safetensors_write(choice_text(c, "file"), &t, 1, meta, ARRAY_SIZE(meta));
	tensor_release(&t);
	return r;
}

/* Per cent of the members that are of the class of the bag's image, in *same, where all have one. */
static bool same_class(const struct samples *set, const int32_t *bag, int k, double *same)
{
	int64_t n = 0;

	for (int64_t i = 0; i < set->count; i++) {
		if (set->label[i] < 0)
			return false;
		for (int j = 0; j < k; j++)
			n += set->label[bag[i * k + j]] == set->label[i];
	}
	*same = 100.0 * n / ((double)set->count * k);
	return true;
}

static int run_bags(const struct choice *c, const struct features *f, FILE *out)
{
	const struct samples *set = &f->set[TRAIN];
	int64_t count = strtoll(f->data, NULL, 10);
	int k = (int)choice_value(c, "k"), r;
	int32_t *bag;
	double same;

	if (set->count <= k)
		return fail_code(EXIT_USAGE, "bags of %d need more than %d training samples and there are %lld: give a smaller k",
				 k, k, (long long)set->count);
	for (int64_t i = 0; i < set->count; i++)
		if (set->index[i] < 0 || set->index[i] >= count)
			return fail("bags: the fingerprint of the data, '%s', leaves no room for image %lld", f->data,
				    (long long)set->index[i]);
	bag = xcalloc(set->count * k, sizeof(*bag));
	bagging_run(set->x[0], set->count, f->dim, k, BAGGING_COSINE, bag);
	fprintf(out, ", \"train\": %lld, \"k\": %d", (long long)set->count, k);
	if (same_class(set, bag, k, &same))
		fprintf(out, ", \"same_class\": %.4f", same);
	outfile_print(out, "file", choice_text(c, "file"));
	r = write_bags(f, c, bag, count);
	free(bag);
	return r;
}

/* --- the table --- */

static const struct probe probes[] = {
	{ { "knn", "nearest neighbours: weighted vote by cosine, plain vote by distance", knn_params }, 1, false, NULL, run_knn,
	  check_knn },
	{ { "linear", "logistic regression", linear_params }, 1, false, NULL, run_linear, NULL },
	{ { "metrics", "alignment, uniformity, instance discrimination", metrics_params }, FEATURE_VIEWS, false, NULL,
	  run_metrics, check_metrics },
	{ { "export", "features, labels and names into a file", export_params }, FEATURE_VIEWS, true, NULL, run_export,
	  check_export },
	{ { "bags", "the nearest training images of each, for augment --bags", bags_params }, 1, false, NULL, run_bags,
	  check_bags },
	{ { "pca", "principal components, as numbers and pictures", embed_pca_params }, 1, true, "thumbs", embed_pca,
	  embed_check_pca },
	{ { "tsne", "t-SNE, as numbers and pictures", embed_tsne_params }, 1, true, "thumbs", embed_tsne, embed_check_tsne },
	{ { "neighbours", "images beside the training images nearest to them", query_params }, 1, true, "file",
	  query_run, query_check },
};
const struct table probe_table = TABLE("probe", probes);

int probe_check(const struct choice *c)
{
	const struct probe *p = (const struct probe *)c->entry;

	return p->check ? p->check(c) : 0;
}

bool probe_pictures(const struct choice *c)
{
	const struct probe *p = (const struct probe *)c->entry;

	return p->pictures && outfile_wanted(choice_text(c, p->pictures));
}

int probe_run(const struct choice *c, const struct features *f, FILE *out)
{
	const struct probe *p = (const struct probe *)c->entry;
	char *line = NULL;
	size_t size;
	FILE *text = open_memstream(&line, &size);
	int r;

	if (!text)
		return fail("unable to keep a result:");
	fprintf(text, "{\"probe\": \"%s\", \"on\": \"%s\"", p->entry.name, f->on);
	r = p->run(c, f, text);
	fclose(text);
	if (r == 0 && (fprintf(out, "%s}\n", line) < 0 || fflush(out) != 0))
		r = fail("unable to write the results:");
	free(line);
	return r;
}
