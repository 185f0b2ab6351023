#include "lib/stream/record.h"

static const char *const kinds[] = {
	[KIND_OPEN] = "open",   [KIND_SCHEMA] = "schema", [KIND_WANT] = "want",	  [KIND_BATCH] = "batch",
	[KIND_GRAD] = "grad",   [KIND_END] = "end",	  [KIND_FAULT] = "fault", [KIND_CLOSE] = "close",
};
_Static_assert(ARRAY_SIZE(kinds) == KINDS, "every kind has a name");

const char *kind_name(enum kind k)
{
	return kinds[k];
}

struct record *record_new(enum kind kind)
{
	struct record *r = xcalloc(1, sizeof(*r));

	r->kind = kind;
	return r;
}

void record_reset(struct record *r, enum kind kind)
{
	for (int i = 0; i < r->tensor_count; i++)
		tensor_release(&r->tensors[i]);
	r->kind = kind;
	r->scalar_count = r->tensor_count = r->offer_count = r->name_count = r->texts_used = 0;
}

void record_free(struct record *r)
{
	if (r)
		record_reset(r, r->kind);
	free(r);
}

/* --- scalars --- */

const struct scalar *record_scalar(const struct record *r, const char *name)
{
	for (int i = 0; i < r->scalar_count; i++)
		if (strcmp(r->scalars[i].name, name) == 0)
			return &r->scalars[i];
	return NULL;
}

static struct scalar *slot(struct record *r, const char *name, enum scalar_type type)
{
	struct scalar *s = (struct scalar *)record_scalar(r, name);

	if (!s) {
		if (r->scalar_count == RECORD_SCALARS)
			bug("more than %d scalars in a record", RECORD_SCALARS);
		s = &r->scalars[r->scalar_count++];
		if (format(s->name, sizeof(s->name), "%s", name) < 0)
			bug("scalar name '%s' is too long", name);
	}
	s->type = type;
	return s;
}

void record_set_bool(struct record *r, const char *name, bool v)
{
	slot(r, name, SCALAR_BOOL)->flag = v;
}

void record_set_int(struct record *r, const char *name, int64_t v)
{
	slot(r, name, SCALAR_INT)->integer = v;
}

void record_set_real(struct record *r, const char *name, double v)
{
	slot(r, name, SCALAR_REAL)->real = v;
}

void record_set_text(struct record *r, const char *name, const char *v)
{
	size_t n = MIN(strlen(v), (size_t)SCALAR_TEXT - 1);
	const char *there = record_text(r, name, NULL);

	if (there && strcmp(there, v) == 0) /* facts are copied again and again */
		return;
	if (r->texts_used + n + 1 > sizeof(r->texts))
		bug("the texts of a record exceed %zu bytes", sizeof(r->texts));
	slot(r, name, SCALAR_STR)->text = r->texts_used;
	memcpy(r->texts + r->texts_used, v, n);
	r->texts[r->texts_used + n] = '\0';
	r->texts_used += (int)n + 1;
}

bool record_bool(const struct record *r, const char *name, bool otherwise)
{
	const struct scalar *s = record_scalar(r, name);

	return s && s->type == SCALAR_BOOL ? s->flag : otherwise;
}

int64_t record_int(const struct record *r, const char *name, int64_t otherwise)
{
	const struct scalar *s = record_scalar(r, name);

	return s && s->type == SCALAR_INT ? s->integer : otherwise;
}

double record_real(const struct record *r, const char *name, double otherwise)
{
	const struct scalar *s = record_scalar(r, name);

	if (s && s->type == SCALAR_INT)
		return (double)s->integer;
	return s && s->type == SCALAR_REAL ? s->real : otherwise;
}

const char *record_text(const struct record *r, const char *name, const char *otherwise)
{
	const struct scalar *s = record_scalar(r, name);

	return s && s->type == SCALAR_STR ? r->texts + s->text : otherwise;
}

const char *record_show(const struct record *r, const struct scalar *s, char *dst, size_t size)
{
	switch (s->type) {
	case SCALAR_BOOL:
		snprintf(dst, size, "%s", s->flag ? "yes" : "no");
		break;
	case SCALAR_INT:
		snprintf(dst, size, "%lld", (long long)s->integer);
		break;
	case SCALAR_REAL:
		snprintf(dst, size, "%.17g", s->real);
		break;
	case SCALAR_STR:
		snprintf(dst, size, "%s", r->texts + s->text);
		break;
	}
	return dst;
}

/* --- tensors and names --- */

static const struct tensor *find(const struct tensor *list, int count, const char *name)
{
	for (int i = 0; i < count; i++)
		if (strcmp(list[i].name, name) == 0)
			return &list[i];
	return NULL;
}

void record_add(struct record *r, struct tensor t)
{
	if (r->tensor_count == RECORD_TENSORS)
		bug("more than %d tensors in a record", RECORD_TENSORS);
	r->tensors[r->tensor_count++] = t;
}

const struct tensor *record_find(const struct record *r, const char *name)
{
	return find(r->tensors, r->tensor_count, name);
}

const struct tensor *record_offered(const struct record *r, const char *name)
{
	return find(r->offers, r->offer_count, name);
}

void record_offer(struct record *r, const char *name, enum dtype d, int rank, const int64_t *shape)
{
	if (record_offered(r, name))
		return;
	if (r->offer_count == RECORD_TENSORS)
		bug("more than %d offers in a record", RECORD_TENSORS);
	r->offers[r->offer_count++] = tensor_borrow(name, d, rank, shape, NULL);
}

bool record_named(const struct record *r, const char *name)
{
	for (int i = 0; i < r->name_count; i++)
		if (strcmp(r->names[i], name) == 0)
			return true;
	return false;
}

void record_name(struct record *r, const char *name)
{
	if (record_named(r, name))
		return;
	if (r->name_count == RECORD_NAMES || format(r->names[r->name_count], TENSOR_NAME, "%s", name) < 0)
		bug("no room for the name '%s' in a record", name);
	r->name_count++;
}

void record_add_text(struct record *r, const char *name, const char *text)
{
	struct tensor t = tensor_new(name, U8, 1, (int64_t[]){ (int64_t)strlen(text) });

	memcpy(t.data, text, strlen(text));
	record_add(r, t);
}

char *record_long_text(const struct record *r, const char *name)
{
	const struct tensor *t = record_find(r, name);
	size_t n = t && t->dtype == U8 ? tensor_bytes(t) : 0;
	char *text = xmalloc(n + 1);

	if (n)
		memcpy(text, t->data, n);
	text[n] = '\0';
	return text;
}

/* --- facts --- */

static bool is_fact(const struct scalar *s)
{
	return strncmp(s->name, "fact.", 5) == 0;
}

int record_check_facts(const struct record *r, int most, const char *whose)
{
	size_t bytes = 0, room = sizeof(r->texts) / (RECORD_SCALARS + 1) * most;
	int count = 0;

	for (int i = 0; i < r->scalar_count; i++) {
		const struct scalar *s = &r->scalars[i];

		count += is_fact(s);
		if (is_fact(s) && s->type == SCALAR_STR)
			bytes += strlen(r->texts + s->text) + 1;
	}
	if (count > most)
		return fail("the '%s' stage names %d facts: at most %d are taken over", whose, count, most);
	if (bytes > room)
		return fail("the '%s' stage's facts have texts of %zu bytes: at most %zu are taken over", whose, bytes, room);
	return 0;
}

void record_copy_facts(struct record *to, const struct record *from)
{
	for (int i = 0; i < from->scalar_count; i++) {
		const struct scalar *s = &from->scalars[i];

		if (!is_fact(s))
			continue;
		if (s->type == SCALAR_STR)
			record_set_text(to, s->name, from->texts + s->text);
		else
			*slot(to, s->name, s->type) = *s;
	}
}

static bool same_value(const struct record *a, const struct scalar *x, const struct record *b, const struct scalar *y)
{
	char s[SCALAR_TEXT], t[SCALAR_TEXT];

	return strcmp(record_show(a, x, s, sizeof(s)), record_show(b, y, t, sizeof(t))) == 0;
}

const char *record_facts_differ(const struct record *a, const struct record *from)
{
	for (int i = 0; i < from->scalar_count; i++) {
		const struct scalar *y = &from->scalars[i], *x = record_scalar(a, y->name);

		if (is_fact(y) && (!x || !same_value(a, x, from, y)))
			return y->name + 5;
	}
	return NULL;
}
