/* configure.c - the network that options, weights and data ask for */
#include "cmd/encode/encode.h"

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

static int choose_arch(struct net_config *c, const struct options *o, const struct tensors *file)
{
	const char *made = file ? tensors_meta(file, "arch") : NULL;

	if (o->arch.entry && made && strcmp(made, o->arch.entry->name) != 0)
		return fail_code(EXIT_USAGE, "'%s' holds a %s, not a %s: leave -a out", o->weights, made, o->arch.entry->name);
	if (!o->arch.entry && !made)
		return fail_code(EXIT_USAGE, "which network? give -a ARCH ('-a list' lists them)%s",
				 o->weights ? ": the file given with -w does not tell" : "");
	c->arch = o->arch.entry ? (const struct arch *)o->arch.entry : arch_find(made);
	return c->arch ? 0 : fail_code(EXIT_USAGE, "'%s' holds a %s, which this version does not know", o->weights, made);
}

static const char *choose_head(const struct options *o, const struct tensors *file)
{
	const char *made = file ? tensors_meta(file, "head") : NULL;

	return o->head ? o->head : made ? made : "linear";
}

/* What the weights were trained on must be what they are served. */
static int check_input(const struct options *o, const struct tensors *file, const struct record *schema)
{
	static const char *const names[] = { "size", "mean", "std" };

	for (size_t i = 0; file && i < ARRAY_SIZE(names); i++) {
		const char *made = tensors_meta(file, names[i]);
		char fact[32], value[SCALAR_TEXT];
		const struct scalar *s;

		snprintf(fact, sizeof(fact), "fact.%s", names[i]);
		s = record_scalar(schema, fact);
		if (made && s && strcmp(made, record_show(schema, s, value, sizeof(value))) != 0)
			return fail_code(EXIT_USAGE, "'%s' was trained with %s %s but is served %s: add --%s %s to augment", o->weights, names[i], made,
					 value, names[i], made);
	}
	return 0;
}

static int check_view(const struct record *schema, int i)
{
	const struct tensor *first = record_offered(schema, "view0");
	char name[32], spec[128];
	const struct tensor *v;

	snprintf(name, sizeof(name), "view%d", i);
	v = record_offered(schema, name);
	if (!first || !v)
		return fail("the stage in front gives no '%s'", name);
	if (v->dtype != U8 || v->rank != 4 || v->shape[3] != 3 || v->shape[0] != record_int(schema, "fact.batch", 0) ||
	    v->shape[1] < 1 || v->shape[2] < 1 || v->shape[1] > 8192 || v->shape[2] > 8192 || !tensor_same_spec(v, first))
		return fail("the stage in front offers '%s' as %s: encode needs u8[B,h,w,3], B the batch, all views of one size", name,
			    tensor_spec(v, spec, sizeof(spec)));
	return 0;
}

int check_schema(const struct record *schema)
{
	static const char *const counts[] = { "fact.batch", "fact.views", "fact.steps_per_epoch", "fact.steps" };

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		if (record_int(schema, counts[i], 0) < 1 || record_int(schema, counts[i], 0) > INT32_MAX)
			return fail("the stage in front says %s = %lld, which cannot be", counts[i] + 5, (long long)record_int(schema, counts[i], 0));
	if (record_int(schema, "fact.views", 0) > RECORD_TENSORS)
		return fail("the stage in front says views = %lld, which cannot be", (long long)record_int(schema, "fact.views", 0));
	for (int i = 0; i < record_int(schema, "fact.views", 0); i++)
		if (check_view(schema, i) < 0)
			return -1;
	return 0;
}

int configure(struct net_config *c, const struct options *o, const struct record *schema, const struct tensors *file)
{
	const char *small = file ? tensors_meta(file, "small") : NULL, *dim = file ? tensors_meta(file, "dim") : NULL;
	const struct tensor *view = record_offered(schema, "view0");
	int64_t d = o->dim;

	if (choose_arch(c, o, file) < 0)
		return -1;
	if (strcmp(o->precision, "f32") != 0 && strcmp(o->precision, "bf16") != 0)
		return fail_code(EXIT_USAGE, "no precision '%s': choose f32 or bf16", o->precision);
	c->bf16 = strcmp(o->precision, "bf16") == 0;
	if (dim)
		parse_int(dim, &d);
	c->small = o->small || (small && strcmp(small, "yes") == 0);
	c->head = choose_head(o, file);
	c->dim = (int)d;
	c->height = (int)view->shape[1];
	c->width = (int)view->shape[2];
	c->bn_splits = 1;
	c->bn_momentum = o->bn_momentum;
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

bool has_head(const struct net_config *c)
{
	return strcmp(c->head, "none") != 0;
}

bool view_name(const char *name, const char *prefix, int views, int *view)
{
	size_t n = strlen(prefix);
	int64_t i;

	if (strncmp(name, prefix, n) != 0 || parse_int(name + n, &i) < 0 || i < 0 || i >= views)
		return false;
	*view = (int)i;
	return true;
}

int refuse_name(const char *name)
{
	const char *hint = strncmp(name, "k", 1) == 0 ? "keys come from the trained encode" :
			   strncmp(name, "t", 1) == 0 ? "a teacher 'encode --frozen --as t -w FILE' in front makes it" :
			   strncmp(name, "q", 1) == 0 || strncmp(name, "view", 4) == 0 || strncmp(name, "feature", 7) == 0 ?
						       "augment --views N makes more views, encode --head a head's output" : "no stage in front makes it";

	return fail_code(EXIT_USAGE, "nobody gives '%s': %s", name, hint);
}
