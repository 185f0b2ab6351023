#include "lib/stream/schema.h"

#include "lib/stream/wire.h"

/* Scalars that are read somewhere: another type would be taken for an absent value. */
static int check_types(const struct server *v, const struct record *r)
{
	static const struct {
		const char *name, *kind;
		enum scalar_type type;
	} known[] = {
		{ "incarnation", "an integer", SCALAR_INT },	     { "first_step", "an integer", SCALAR_INT },
		{ "trained", "a bool", SCALAR_BOOL },		     { "fact.samples", "an integer", SCALAR_INT },
		{ "fact.size", "an integer", SCALAR_INT },	     { "fact.views", "an integer", SCALAR_INT },
		{ "fact.batch", "an integer", SCALAR_INT },	     { "fact.steps_per_epoch", "an integer", SCALAR_INT },
		{ "fact.epochs", "an integer", SCALAR_INT },	     { "fact.steps", "an integer", SCALAR_INT },
		{ "fact.seed", "an integer", SCALAR_INT },	     { "fact.eval", "a bool", SCALAR_BOOL },
		{ "fact.mean", "a text", SCALAR_STR },		     { "fact.std", "a text", SCALAR_STR },
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		const struct scalar *x = record_scalar(r, known[i].name);

		if (x && x->type != known[i].type)
			return fail("the '%s' stage gives '%s' as something else than %s", v->ticket.stage, known[i].name,
				    known[i].kind);
	}
	return 0;
}

static const char *differing(const struct record *first, const struct record *r)
{
	const char *fact = record_facts_differ(first, r);

	if (fact)
		return fact;
	if (record_bool(first, "trained", false) != record_bool(r, "trained", false))
		return "trained";
	return record_int(first, "first_step", 0) != record_int(r, "first_step", 0) ? "first_step" : NULL;
}

int schema_check(const struct stage *s, const struct server *v, const struct record *r)
{
	bool trained = record_bool(r, "trained", false);
	int64_t batch = record_int(r, "fact.batch", 0);
	const char *stage = v->ticket.stage, *differs;

	if (record_int(r, "version", 0) != WIRE_VERSION)
		return fail("the '%s' stage speaks another version of the wire than %d: use programs of one release", stage,
			    WIRE_VERSION);
	if (check_types(v, r) < 0 || record_check_facts(r, RECORD_FACTS, stage) < 0)
		return -1;
	if (trained && s->options.serves && !record_bool(s->open, "trained", false))
		return fail_code(EXIT_USAGE, "the '%s' stage in front is being trained: a loss can stand behind it, or an encode "
				 "that is trained itself", stage);
	if (trained && (!record_scalar(r, "incarnation") || record_int(r, "first_step", -1) < 0))
		return fail("the '%s' stage claims to be trained, but gives no 'incarnation' or no 'first_step'", stage);
	if (v->ticket.parts > 1 && (batch < v->ticket.parts || batch > INT32_MAX))
		return fail("the '%s' stage gives part %d/%d of steps of %lld rows", stage, v->ticket.part, v->ticket.parts,
			    (long long)batch);
	differs = s->schema ? differing(s->schema, r) : NULL;
	if (differs)
		return fail("refused the '%s' stage at '%s': its %s differs from the first one's", stage, v->ticket.endpoint,
			    differs);
	return 0;
}
