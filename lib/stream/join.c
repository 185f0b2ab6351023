#include "lib/stream/join.h"

/* --- servers --- */

int join_parts(const struct stage *s)
{
	return s->server_count ? s->servers[0].ticket.parts : 1;
}

static int check_parts(const struct ticket *first, const struct ticket *t)
{
	if (t->parts >= SERVERS_MAX)
		return fail_code(EXIT_USAGE, "a ticket has part=%d/%d: at most %d parts can be joined", t->part, t->parts,
				 SERVERS_MAX - 1);
	if (t->parts == first->parts)
		return 0;
	if (t->parts == 1 || first->parts == 1)
		return fail_code(EXIT_USAGE,
				 "a ticket has part=%d/%d and another has none: all servers give a part of each step, or all "
				 "the whole",
				 t->parts > 1 ? t->part : first->part, MAX(t->parts, first->parts));
	return fail_code(EXIT_USAGE, "a ticket has part=%d/%d and another part=%d/%d: a step is cut in one way only",
			 first->part, first->parts, t->part, t->parts);
}

int join_admit(struct stage *s, const struct ticket *t)
{
	if (check_parts(s->server_count ? &s->servers[0].ticket : t, t) < 0)
		return -1;
	for (int i = 0; t->parts > 1 && i < s->server_count; i++) {
		struct server *v = &s->servers[i];

		if (v->ticket.part != t->part || v->state == SERVER_CLOSED)
			continue;
		if (v->state != SERVER_DEAD)
			return fail_code(EXIT_USAGE, "two tickets have part=%d/%d: each part has one server", t->part, t->parts);
		v->state = SERVER_CLOSED;
	}
	return 0;
}

static bool has(const struct stage *s, int part, enum server_state state)
{
	for (int i = 0; i < s->server_count; i++)
		if (s->servers[i].ticket.part == part && s->servers[i].state == state)
			return true;
	return false;
}

int join_absent(const struct stage *s)
{
	for (int part = 0; part < join_parts(s); part++)
		if (!has(s, part, SERVER_READY) && !has(s, part, SERVER_ENDED))
			return part;
	return -1;
}

bool join_ended(const struct stage *s, int part)
{
	return has(s, part, SERVER_ENDED);
}

bool join_ended_all(const struct stage *s)
{
	int part = 0;

	while (part < join_parts(s) && join_ended(s, part))
		part++;
	return part == join_parts(s);
}

/* --- shares --- */

static int common_divisor(int a, int b)
{
	return b ? common_divisor(b, a % b) : a;
}

/* Parts of the least common multiple lie within parts of either number. What is beyond any batch no server answers. */
int join_shares(const struct stage *s, int parts)
{
	int n = join_parts(s);

	return n == 1 || parts > INT32_MAX / SERVERS_MAX ? 1 : n / common_divisor(n, parts);
}

int64_t join_rows(const struct stage *s, int64_t step, int part, int parts)
{
	int64_t rows = record_int(s->schema, "fact.batch", 0), samples = record_int(s->schema, "fact.samples", 0);

	if (record_bool(s->schema, "fact.eval", false) && samples > 0) /* its last step may be shorter */
		rows = step > samples / rows ? 0 : MIN(rows, samples - step * rows);
	return ((int64_t)part + 1) * rows / parts - (int64_t)part * rows / parts;
}

int join_home(const struct stage *s, int part, int parts)
{
	return join_parts(s) == 1 ? 0 : (int)((int64_t)part * join_parts(s) / parts);
}

int join_check(const struct stage *s, const struct server *v, const struct want *w, const struct record *answer)
{
	int64_t due, rows = answer->tensor_count && answer->tensors[0].rank ? answer->tensors[0].shape[0] : 0;

	if (join_parts(s) == 1)
		return 0;
	due = join_rows(s, w->step, w->part, w->parts);
	if (rows == due || (rows < due && rows > 0 && record_bool(s->schema, "fact.eval", false)))
		return 0;
	return fail("the '%s' stage of part %d/%d sent %lld rows of part %d/%d in step %lld, not the %lld that are due",
		    v->ticket.stage, v->ticket.part, v->ticket.parts, (long long)rows, w->part, w->parts, (long long)w->step + 1,
		    (long long)due);
}

/* --- answers --- */

static const char *show(const struct record *r, const char *name, char *dst, size_t size)
{
	const struct scalar *x = record_scalar(r, name);

	return x ? record_show(r, x, dst, size) : "nothing";
}

/* What the servers must have decided alike. */
static int check_scalars(const struct stage *s, const struct want *a, const struct want *b)
{
	static const char *const names[] = { "epoch", "save" };
	const struct ticket *x = &s->servers[a->server].ticket, *y = &s->servers[b->server].ticket;
	char p[SCALAR_TEXT], q[SCALAR_TEXT];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(show(a->answer, names[i], p, sizeof(p)), show(b->answer, names[i], q, sizeof(q))) != 0)
			return fail("the '%s' stages disagree in step %lld: '%s' is %s of part %d/%d, but %s of part %d/%d",
				    x->stage, (long long)a->step + 1, names[i], show(a->answer, names[i], p, sizeof(p)), x->part,
				    x->parts, show(b->answer, names[i], q, sizeof(q)), y->part, y->parts);
	return 0;
}

/* Adds up the rows of a tensor of the first share into shape, which the others' must have, too. */
static int count_rows(struct want *const *shares, int count, const struct tensor *first, int64_t *shape)
{
	memcpy(shape, first->shape, sizeof(first->shape));
	for (int i = 1; i < count; i++) {
		const struct tensor *t = record_find(shares[i]->answer, first->name);
		struct tensor like = *first;

		if (t && t->rank > 0 && like.rank > 0)
			like.shape[0] = t->shape[0];
		if (!t || t->rank < 1 || !tensor_same_spec(t, &like))
			return fail("the parts of '%s' in step %lld are of different shapes", first->name,
				    (long long)shares[0]->step + 1);
		shape[0] += t->shape[0];
	}
	return 0;
}

static int join_tensor(struct want *const *shares, int count, const struct tensor *first, struct record *whole)
{
	int64_t shape[TENSOR_RANK];
	struct tensor joined;
	char *row;

	if (count_rows(shares, count, first, shape) < 0)
		return -1;
	joined = tensor_new(first->name, first->dtype, first->rank, shape);
	row = joined.data;
	for (int i = 0; i < count; i++) {
		const struct tensor *t = record_find(shares[i]->answer, first->name);

		memcpy(row, t->data, tensor_bytes(t));
		row += tensor_bytes(t);
	}
	record_add(whole, joined);
	return 0;
}

/* A record of the scalars of another. */
static struct record *same_scalars(const struct record *r)
{
	struct record *copy = record_new(r->kind);

	*copy = *r;
	copy->tensor_count = 0;
	return copy;
}

struct record *join_answers(const struct stage *s, struct want *const *shares, int count)
{
	struct record *first = shares[0]->answer, *whole;
	int r = 0;

	if (count == 1) {
		shares[0]->answer = NULL;
		return first;
	}
	whole = same_scalars(first);
	record_set_int(whole, "part", shares[0]->asked_part);
	record_set_int(whole, "parts", shares[0]->asked_parts);
	for (int i = 1; r == 0 && i < count; i++)
		r = check_scalars(s, shares[0], shares[i]);
	for (int k = 0; r == 0 && k < first->tensor_count; k++)
		r = join_tensor(shares, count, &first->tensors[k], whole);
	for (int i = 0; i < count; i++) {
		record_free(shares[i]->answer);
		shares[i]->answer = NULL;
	}
	if (r == 0)
		return whole;
	record_free(whole);
	return NULL;
}

/* --- gradients --- */

/* Rows of a part: the same memory. */
static struct tensor cut(const struct tensor *t, int part, int parts)
{
	struct tensor rows = tensor_share(t);
	int64_t begin = part * t->shape[0] / parts, end = (part + 1) * t->shape[0] / parts;

	rows.shape[0] = 1;
	rows.data = (char *)t->data + begin * (int64_t)tensor_bytes(&rows);
	rows.shape[0] = end - begin;
	return rows;
}

struct record *join_cut(const struct server *v, const struct record *grad)
{
	struct record *own = same_scalars(grad);

	record_set_int(own, "incarnation", v->incarnation);
	for (int i = 0; i < grad->tensor_count; i++) {
		const struct tensor *t = &grad->tensors[i];

		if (strncmp(t->name, "d:", 2) == 0)
			record_add(own, cut(t, v->ticket.part, v->ticket.parts));
		else if (v->ticket.part == 0)
			record_add(own, tensor_share(t));
	}
	return own;
}
