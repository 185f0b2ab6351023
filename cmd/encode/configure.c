/* configure.c - the network that options, weights and data ask for */
#include "cmd/encode/encode.h"

#include "lib/nn/model/heads.h"
#include "lib/nn/weights/aliases.h"

static int three_numbers(const char *text, const char *fact, float out[3])
{
	double v[3];
	char end;

	if (sscanf(text, "%lf,%lf,%lf%c", &v[0], &v[1], &v[2], &end) != 3)
		return fail("the stage in front sent '%s' as %s, not three numbers", text, fact);
	for (int i = 0; i < 3; i++)
		out[i] = (float)v[i];
	return 0;
}

/* Other training codes note an architecture, too, by names that may say nothing here: then it is -a that counts. */
static int read_arch(const struct options *o, const struct tensors *file, const struct arch **arch)
{
	const char *made = file ? tensors_meta(file, "arch") : NULL;

	*arch = made ? aliases_arch(made) : NULL;
	if (made && strncmp(made, "tf_", 3) == 0)
		return fail_code(EXIT_USAGE, "'%s' holds timm's '%s', which pads images as TensorFlow does: no network here does",
				 o->weights, made);
	if (made && strcmp(made, "vit_small") == 0)
		return fail_code(EXIT_USAGE, "'%s' holds MoCo v3's vit_small, which has 12 heads, deit_small 6: no network "
				 "here is the same", o->weights);
	if (made && !*arch && tensors_meta(file, "sprat"))
		return fail_code(EXIT_USAGE, "'%s' holds a %s, which this version does not know", o->weights, made);
	return 0;
}

static int choose_arch(struct net_config *c, const struct options *o, const struct tensors *file)
{
	const struct arch *made;

	if (read_arch(o, file, &made) < 0)
		return -1;
	if (o->arch.entry && made && made != (const struct arch *)o->arch.entry)
		return fail_code(EXIT_USAGE, "'%s' holds a %s, not a %s: leave -a out", o->weights, made->entry.name,
				 o->arch.entry->name);
	if (!o->arch.entry && !made)
		return fail_code(EXIT_USAGE, "which network? give -a ARCH ('-a list' lists them)%s",
				 o->weights ? ": the file given with -w does not tell" : "");
	c->arch = o->arch.entry ? (const struct arch *)o->arch.entry : made;
	return 0;
}

/* A network that is not trained has no use for a predictor. */
static const char *choose_predictor(const struct options *o, const struct tensors *file)
{
	const char *made = file ? tensors_meta(file, "predictor") : NULL;

	if (o->frozen || o->eval)
		return "none";
	return o->predictor ? o->predictor : made ? made : "none";
}

static const char *choose_head(const struct options *o, const struct tensors *file)
{
	const char *made = file ? tensors_meta(file, "head") : NULL;

	return o->head ? o->head : made ? made : "linear";
}

const char *fact_of(const struct tensors *file, const char *name)
{
	char key[SCALAR_NAME];

	snprintf(key, sizeof(key), "fact.%s", name);
	return tensors_meta(file, name) ? tensors_meta(file, name) : tensors_meta(file, key);
}

static const char *served_fact(const struct record *schema, const char *name, char value[SCALAR_TEXT])
{
	char key[SCALAR_NAME];
	const struct scalar *s;

	snprintf(key, sizeof(key), "fact.%s", name);
	s = record_scalar(schema, key);
	return s ? record_show(schema, s, value, SCALAR_TEXT) : NULL;
}

/* What differs between a run and what its weights are served now, and the options that would mend it. */
struct mismatch {
	char was[256], is[256], add[512];
};

static void mismatch_add(struct mismatch *m, const char *name, const char *was, const char *is, const char *value)
{
	size_t w = strlen(m->was), i = strlen(m->is), a = strlen(m->add);

	snprintf(m->was + w, sizeof(m->was) - w, "%s%s %s", w ? ", " : "", name, was);
	snprintf(m->is + i, sizeof(m->is) - i, "%s%s %s", i ? ", " : "", name, is);
	snprintf(m->add + a, sizeof(m->add) - a, " --%s%s%s", name, *value ? " " : "", value);
}

/* An evaluation of the same data sees them turned as the training did, and what the training held out. */
static void compare_evaluation(struct mismatch *m, const struct tensors *file, const struct record *schema)
{
	const char *exif = fact_of(file, "exif"), *held = fact_of(file, "holdout"), *data = fact_of(file, "data");
	const char *how = tensors_meta(file, "made.holdout");
	int64_t n;

	if (!record_bool(schema, "fact.eval", false))
		return;
	if (exif && strcmp(exif, "yes") == 0 && !record_bool(schema, "fact.exif", false))
		mismatch_add(m, "exif", "yes", "no", "");
	if (held && *held && data && strcmp(data, record_text(schema, "fact.data", "")) == 0 &&
	    !*record_text(schema, "fact.holdout", ""))
		mismatch_add(m, "holdout", how && parse_int(how, &n) == 0 ? how : "a list", "none", how ? how : "FILE|N");
}

/* What the weights were trained on must be what they are served. */
static int check_input(const struct options *o, const struct tensors *file, const struct record *schema)
{
	static const char *const names[] = { "size", "mean", "std" };
	struct mismatch m = { "", "", "" };

	if (!file)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		char value[SCALAR_TEXT];
		const char *made = fact_of(file, names[i]), *served = served_fact(schema, names[i], value);

		if (made && served && strcmp(made, served) != 0)
			mismatch_add(&m, names[i], made, served, made);
	}
	compare_evaluation(&m, file, schema);
	if (!*m.add)
		return 0;
	return fail_code(EXIT_USAGE, "'%s' was trained with %s but is served %s: add%s to augment, or --like %s", o->weights,
			 m.was, m.is, m.add, o->weights);
}

void copy_origin(struct record *to, const struct record *from)
{
	static const char *const names[] = { "made.labels", "made.holdout" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (record_scalar(from, names[i]))
			record_set_text(to, names[i], record_text(from, names[i], ""));
}

static int check_view(const struct record *schema, int i)
{
	char name[32], spec[128];
	const struct tensor *v;

	snprintf(name, sizeof(name), "%s%d", name_rows[NAME_VIEW].prefix, i);
	v = record_offered(schema, name);
	if (!v)
		return fail("the stage in front gives no '%s'", name);
	if (v->dtype != U8 || v->rank != 4 || v->shape[3] != 3 || v->shape[0] != record_int(schema, "fact.batch", 0) ||
	    v->shape[1] < 1 || v->shape[2] < 1 || v->shape[1] > VIEW_MOST || v->shape[2] > VIEW_MOST)
		return fail("the stage in front offers '%s' as %s: encode needs u8[B,h,w,3], B the batch", name,
			    tensor_spec(v, spec, sizeof(spec)));
	return 0;
}

void view_sizes(const struct record *schema, int sizes[TRAINER_VIEWS][2])
{
	for (int i = 0; i < MIN(TRAINER_VIEWS, record_int(schema, "fact.views", 0)); i++) {
		char name[32];
		const struct tensor *v;

		snprintf(name, sizeof(name), "%s%d", name_rows[NAME_VIEW].prefix, i);
		v = record_offered(schema, name);
		sizes[i][0] = (int)v->shape[1];
		sizes[i][1] = (int)v->shape[2];
	}
}

/* A model keeps the size, and is evaluated with it. */
static int check_size(const struct record *schema)
{
	const struct tensor *view = record_offered(schema, "view0");
	int64_t size = record_int(schema, "fact.size", view->shape[1]);

	if (record_scalar(schema, "fact.size") && (view->shape[1] != size || view->shape[2] != size))
		return fail("the stage in front says size = %lld, but its views are %lldx%lld", (long long)size,
			    (long long)view->shape[1], (long long)view->shape[2]);
	return 0;
}

int check_schema(const struct record *schema)
{
	static const char *const counts[] = { "fact.batch", "fact.views", "fact.steps_per_epoch", "fact.steps" };

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		if (record_int(schema, counts[i], 0) < 1 || record_int(schema, counts[i], 0) > INT32_MAX)
			return fail("the stage in front says %s = %lld, which cannot be", counts[i] + 5,
				    (long long)record_int(schema, counts[i], 0));
	if (record_int(schema, "fact.views", 0) > RECORD_TENSORS)
		return fail("the stage in front says views = %lld, which cannot be",
			    (long long)record_int(schema, "fact.views", 0));
	for (int i = 0; i < record_int(schema, "fact.views", 0); i++)
		if (check_view(schema, i) < 0)
			return -1;
	return check_size(schema);
}

/* A file with a head has its width; what is served has no other. */
static int choose_dim(struct net_config *c, const struct options *o, const struct tensors *file)
{
	const char *made = file ? tensors_meta(file, "dim") : NULL;
	int64_t dim = o->dim ? o->dim : 128;
	int spelled = head_spelled_width(c->head);

	if (spelled < 0)
		return -1;
	if (spelled > 0 && o->dim && o->dim != spelled)
		return fail_code(EXIT_USAGE, "head '%s' is %d wide, not %lld: leave --dim out", c->head, spelled,
				 (long long)o->dim);
	if (spelled > 0) {
		c->dim = spelled;
		return 0;
	}
	if (made && (parse_int(made, &dim) < 0 || dim < 1 || dim > DIM_MOST))
		return fail("'%s' says that its head is '%s' wide", o->weights, made);
	if (o->dim && dim != o->dim && strcmp(c->head, "none") != 0 && (o->frozen || o->eval))
		return fail_code(EXIT_USAGE, "'%s' has a head of width %s, not %lld: leave --dim out", o->weights, made,
				 (long long)o->dim);
	c->dim = (int)(o->dim ? o->dim : dim);
	return 0;
}

int configure(struct net_config *c, const struct options *o, const struct record *schema, const struct tensors *file)
{
	const char *small = file ? tensors_meta(file, "small") : NULL;
	const struct tensor *view = record_offered(schema, "view0");

	if (choose_arch(c, o, file) < 0)
		return -1;
	if (strcmp(o->precision, "f32") != 0 && strcmp(o->precision, "bf16") != 0)
		return fail_code(EXIT_USAGE, "no precision '%s': choose f32 or bf16", o->precision);
	c->bf16 = strcmp(o->precision, "bf16") == 0;
	c->small = o->small || (small && strcmp(small, "yes") == 0);
	c->head = choose_head(o, file);
	c->predictor = choose_predictor(o, file);
	if (choose_dim(c, o, file) < 0)
		return -1;
	c->height = (int)view->shape[1];
	c->width = (int)view->shape[2];
	c->dropout = o->dropout;
	c->drop_path = o->drop_path;
	c->backend = o->backend;
	if (three_numbers(record_text(schema, "fact.mean", "0,0,0"), "mean", c->mean) < 0 ||
	    three_numbers(record_text(schema, "fact.std", "1,1,1"), "std", c->std) < 0)
		return -1;
	for (int i = 0; i < 3; i++)
		if (!(c->std[i] > 0))
			return fail("the stage in front sent a deviation of %g: --std needs three numbers above 0", c->std[i]);
	return check_input(o, file, schema);
}

double unsettled(const struct tensors *file)
{
	const char *text = tensors_meta(file, "bn_unsettled");
	double share = 0;

	return text && parse_real(text, &share) == 0 ? share : 0;
}

static int offer(struct record *schema, const char *name, enum dtype d, int rank, const int64_t *shape)
{
	if (schema->offer_count == RECORD_TENSORS && !record_offered(schema, name))
		return fail("the stage in front and encode offer more than %d names together: let it offer fewer",
			    RECORD_TENSORS);
	record_offer(schema, name, d, rank, shape);
	return 0;
}

int offer_own(struct record *schema, const char *prefix, int view, int rows, int width)
{
	char name[TENSOR_NAME];

	if (format(name, sizeof(name), "%s%d", prefix, view) < 0)
		return fail_code(EXIT_USAGE, "'%.40s...' is too long for a name: give a shorter one with --as", prefix);
	return offer(schema, name, F32, 2, (int64_t[]){ rows, width });
}

int offer_others(struct record *schema, const struct record *up)
{
	for (int i = 0; i < up->offer_count; i++)
		if (offer(schema, up->offers[i].name, up->offers[i].dtype, up->offers[i].rank, up->offers[i].shape) < 0)
			return -1;
	return 0;
}

bool view_name(const char *name, const char *prefix, int views, int *view)
{
	size_t n = strlen(prefix);
	int i;

	if (strncmp(name, prefix, n) != 0 || !name_number(name + n, &i) || i >= views)
		return false;
	*view = i;
	return true;
}

int refuse_name(const char *name)
{
	return fail_code(EXIT_USAGE, "nobody gives '%s': %s", name, name_remedy(name));
}
