#include "lib/probe/embed.h"
#include "lib/probe/chosen.h"
#include "lib/probe/outfile.h"
#include "lib/probe/pca.h"
#include "lib/probe/scatter.h"
#include "lib/probe/tsne.h"

#include <math.h>

#define PARAMS_END { NULL, 0, 0, 0, NULL, NULL }
#define OF_SAMPLES                                                                             \
	{ "split", 0, 0, 0, "samples: train, test or all", "all" },                            \
	{ "seed", 0, 0, 1e15, "of the choice of samples", NULL }
#define INTO_PICTURES                                                                          \
	{ "png", 0, 0, 0, "a picture: a point a sample, coloured by class", OUTFILE_NONE },    \
	{ "thumbs", 0, 0, 0, "a picture of the samples' pictures at their places", OUTFILE_NONE }

#define START_SPREAD 1e-4              /* standard deviation of x where t-SNE begins, scikit-learn's */

static int check_whole(const struct choice *c, const char *key)
{
	double v = choice_value(c, key);

	if (v != floor(v))
		return fail_code(EXIT_USAGE, "parameter '%s=%g' of probe '%s' is no whole number", key, v, c->entry->name);
	return 0;
}

/* What both have. */
static int check_common(const struct choice *c)
{
	static const char *const files[] = { "file", "png", "thumbs" };

	if (chosen_check(choice_text(c, "split"), c->entry->name) < 0 || check_whole(c, "n") < 0 || check_whole(c, "seed") < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		if (outfile_wanted(choice_text(c, files[i])) && outfile_check(choice_text(c, files[i])) < 0)
			return -1;
	return 0;
}

static int choose(struct chosen *s, const struct choice *c, const struct features *f, int64_t least)
{
	return chosen_make(s, f, choice_text(c, "split"), (int64_t)choice_value(c, "n"), (int64_t)choice_value(c, "seed"), least);
}

static int write_files(const struct choice *c, const struct chosen *s, const float *x, int dims, FILE *out)
{
	static const struct {
		const char *key;
		int (*write)(const struct chosen *s, const float *x, int dims, const char *path);
	} files[] = { { "file", scatter_lines }, { "png", scatter_points }, { "thumbs", scatter_thumbs } };

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		const char *path = choice_text(c, files[i].key);

		if (!outfile_wanted(path))
			continue;
		if (files[i].write(s, x, dims, path) < 0)
			return -1;
		outfile_print(out, files[i].key, path);
	}
	return 0;
}

/* --- pca --- */

const struct param embed_pca_params[] = {
	{ "dims", 2, 1, 1000, "components", NULL },
	{ "n", 0, 0, 1e9, "at most so many samples; 0: all", NULL },
	OF_SAMPLES,
	{ "file", 0, 0, 0, "where to", "pca.tsv" },
	INTO_PICTURES,
	PARAMS_END
};

int embed_check_pca(const struct choice *c)
{
	if (check_whole(c, "dims") < 0)
		return -1;
	if (choice_value(c, "dims") < 2 && (outfile_wanted(choice_text(c, "png")) || outfile_wanted(choice_text(c, "thumbs"))))
		return fail_code(EXIT_USAGE, "a picture needs two components: give pca dims=2");
	return check_common(c);
}

static void print_list(FILE *out, const char *name, const double *v, int n, double by)
{
	fprintf(out, ", \"%s\": [", name);
	for (int i = 0; i < n; i++)
		fprintf(out, "%s%.9g", i ? ", " : "", by > 0 ? v[i] / by : 0);
	fputc(']', out);
}

int embed_pca(const struct choice *c, const struct features *f, FILE *out)
{
	int dims = (int)choice_value(c, "dims"), r;
	struct chosen s;
	struct pca p;
	float *x;

	if (dims > f->dim)
		return fail_code(EXIT_USAGE, "pca: %d components of %lld values: give a smaller dims", dims, (long long)f->dim);
	if (choose(&s, c, f, MAX(2, dims)) < 0)
		return -1;
	x = chosen_rows(&s);
	r = pca_run(x, s.count, f->dim, dims, &p);
	free(x);
	if (r == 0) {
		fprintf(out, ", \"samples\": %lld, \"dims\": %d", (long long)s.count, dims);
		print_list(out, "variance", p.variance, dims, 1);
		print_list(out, "explained", p.variance, dims, p.total / 100);
		r = write_files(c, &s, p.scores, dims, out);
		pca_release(&p);
	}
	chosen_release(&s);
	return r;
}

/* --- t-SNE --- */

const struct param embed_tsne_params[] = {
	{ "perplexity", 30, 1, 1e4, "how many neighbours count", NULL },
	{ "n", 10000, 0, 1e6, "at most so many samples; 0: all", NULL },
	{ "steps", 1000, 1, 1e6, "of gradient descent", NULL },
	{ "exaggeration", 12, 1, 1e3, "of the affinities, in the first 250 steps", NULL },
	{ "rate", 0, 0, 1e9, "learning rate; 0: samples / exaggeration / 4, at least 50", NULL },
	{ "theta", 0.5, 0, 1, "how small far groups have to look to count as one; 0: exact and slow", NULL },
	{ "pca", 50, 0, 1000, "components that distances are taken of; 0: the features as they are", NULL },
	OF_SAMPLES,
	{ "file", 0, 0, 0, "where to", "tsne.tsv" },
	INTO_PICTURES,
	PARAMS_END
};

int embed_check_tsne(const struct choice *c)
{
	double pca = choice_value(c, "pca");

	if (check_whole(c, "steps") < 0 || check_whole(c, "pca") < 0)
		return -1;
	if (pca == 1)
		return fail_code(EXIT_USAGE, "parameter 'pca=1' of probe 'tsne' leaves a line: give 2 or more, or 0");
	return check_common(c);
}

/* The first two components, small: y (2, n). Fails where all samples are the same. */
static int start(const struct pca *p, int64_t n, int dims, float *y)
{
	double spread = sqrt(p->variance[0] * (n - 1) / n);

	if (!(spread > 0))
		return fail("tsne: all %lld samples have the same features: the network has collapsed", (long long)n);
	for (int64_t i = 0; i < n; i++)
		for (int k = 0; k < 2; k++)
			y[k * n + i] = k < dims ? (float)(p->scores[i * dims + k] / spread * START_SPREAD) : 0;
	return 0;
}

static void draw_plane(const float *y, int64_t n, float *points)
{
	for (int64_t i = 0; i < n; i++)
		for (int k = 0; k < 2; k++)
			points[2 * i + k] = y[k * n + i];
}

static int run_tsne(const struct choice *c, const struct chosen *s, const float *x, const struct pca *p, int dims, FILE *out)
{
	struct tsne t = { choice_value(c, "perplexity"), choice_value(c, "exaggeration"), choice_value(c, "rate"),
			  choice_value(c, "theta"), (int)choice_value(c, "steps") };
	int64_t n = s->count;
	bool reduced = choice_value(c, "pca") > 0;
	float *y = xaligned(2 * n * sizeof(float)), *points = xaligned(2 * n * sizeof(float));
	int r = start(p, n, dims, y);

	if (r == 0) {
		double kl = reduced ? tsne_run(&t, p->scores, n, dims, y) : tsne_run(&t, x, n, s->of->dim, y);

		draw_plane(y, n, points);
		fprintf(out, ", \"samples\": %lld, \"perplexity\": %g, \"steps\": %d, \"kl\": %.6f", (long long)n, t.perplexity,
			t.steps, kl);
		r = isfinite(kl) ? write_files(c, s, points, 2, out)
				 : fail("tsne: the points flew apart: give a smaller rate or exaggeration");
	}
	free(y);
	free(points);
	return r;
}

int embed_tsne(const struct choice *c, const struct features *f, FILE *out)
{
	double perplexity = choice_value(c, "perplexity"), pca = choice_value(c, "pca");
	struct chosen s;
	struct pca p;
	float *x;
	int dims, r;

	if (choose(&s, c, f, 4) < 0)
		return -1;
	if (perplexity >= s.count - 1) {
		r = fail_code(EXIT_USAGE,
			      "tsne: a perplexity of %g needs more than %g samples and there are %lld: give a smaller one",
			      perplexity, ceil(perplexity) + 1, (long long)s.count);
		chosen_release(&s);
		return r;
	}
	dims = (int)MIN(MIN(pca > 0 ? (int64_t)pca : 2, f->dim), s.count);
	x = chosen_rows(&s);
	r = pca_run(x, s.count, f->dim, dims, &p);
	if (r == 0) {
		r = run_tsne(c, &s, x, &p, dims, out);
		pca_release(&p);
	}
	free(x);
	chosen_release(&s);
	return r;
}
