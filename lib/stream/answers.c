/*
 * answers.c - one server, several clients that ask the same: each answer is made once
 *
 * What an untrained server answers is a pure function of the want, so a tensor that was made for one client serves the others. It
 * is kept until every client has passed its step. Clients that run ahead are held back, so that what is kept stays bounded: the
 * first one's wants wait while another client is more than a window of steps behind, but none for longer than the patience; a
 * client that held the others up for so long is not waited for again before it has caught up (what it asks is then made for it
 * alone).
 *
 * With a single client nothing is kept.
 */
#include "lib/stream/answers.h"

#include "lib/base/progress.h"

enum { WINDOW_MAX = 8 };               /* steps */
static const int64_t keep_bytes = 256 << 20;

static bool shared(const struct stage *s)
{
	return !s->trained && s->open_clients > 1;
}

/* A client that others keep pace with: its position is known, and it has not fallen behind for good. */
static bool in_company(const struct client_of_stage *c)
{
	return c->state == CLIENT_OPEN && c->asked && !c->strayed;
}

static int window(const struct answers *a)
{
	int64_t steps = a->step_bytes > 0 ? keep_bytes / a->step_bytes : WINDOW_MAX;

	return (int)MAX(1, MIN(steps, WINDOW_MAX));
}

/* --- pace --- */

static int64_t foremost(const struct stage *s)
{
	int64_t step = INT64_MIN;

	for (int i = 0; i < CLIENTS_MAX; i++)
		if (in_company(&s->clients[i]))
			step = MAX(step, s->clients[i].position);
	return step;
}

void answers_asked(struct stage *s, int client, int64_t step)
{
	struct client_of_stage *c = &s->clients[client];

	if (!c->asked)
		c->position = step - 1;
	c->asked = true;
	s->asked = true;
	if (c->strayed && step + window(&s->answers) >= foremost(s))
		c->strayed = false;
}

static bool holds(const struct stage *s, int other, const struct request *q)
{
	const struct client_of_stage *c = &s->clients[other];

	return other != q->client && in_company(c) && record_int(q->record, "step", 0) > c->position + window(&s->answers);
}

static bool held(const struct stage *s, const struct request *q)
{
	for (int i = 0; i < CLIENTS_MAX; i++)
		if (holds(s, i, q))
			return true;
	return false;
}

/* Those who held a want up for too long are waited for no more. */
static void leave_behind(struct stage *s, const struct request *q)
{
	for (int i = 0; i < CLIENTS_MAX; i++)
		if (holds(s, i, q)) {
			s->clients[i].strayed = true;
			note("'%s' lags %lld steps behind the others and is not waited for any more", s->clients[i].role,
			     (long long)(record_int(q->record, "step", 0) - s->clients[i].position));
		}
}

bool answers_due(struct stage *s, struct request *q, int *timeout)
{
	double waited;

	if (q->record->kind != KIND_WANT || !shared(s) || !held(s, q))
		return true;
	if (q->held_since == 0)
		q->held_since = now();
	waited = now() - q->held_since;
	if (waited >= s->patience) {
		leave_behind(s, q);
		return true;
	}
	*timeout = MAX(1, (int)((s->patience - waited) * 1000));
	return false;
}

/* --- keeping --- */

static int64_t tensors_bytes(const struct record *r)
{
	int64_t sum = 0;

	for (int i = 0; i < r->tensor_count; i++)
		sum += (int64_t)tensor_bytes(&r->tensors[i]);
	return sum;
}

static void drop(struct answers *a, int i)
{
	a->bytes -= tensors_bytes(a->kept[i]);
	record_free(a->kept[i]);
	memmove(&a->kept[i], &a->kept[i + 1], (--a->count - i) * sizeof(a->kept[0]));
}

/* What everybody has passed is dropped, then the oldest until a size is not exceeded. */
static void tidy(struct stage *s)
{
	struct answers *a = &s->answers;
	int64_t rear = INT64_MAX;

	for (int i = 0; i < CLIENTS_MAX && shared(s); i++)
		if (in_company(&s->clients[i]))
			rear = MIN(rear, s->clients[i].position);
	for (int i = a->count - 1; i >= 0; i--)
		if (record_int(a->kept[i], "step", 0) < rear)
			drop(a, i);
	while (a->count > 1 && (a->bytes > keep_bytes || a->count == KEPT_MAX))
		drop(a, 0);
}

static struct record *find(const struct answers *a, const struct record *like)
{
	static const char *const key[] = { "step", "part", "parts" };

	for (int i = 0; i < a->count; i++) {
		size_t same = 0;

		while (same < ARRAY_SIZE(key) && record_int(a->kept[i], key[same], -1) == record_int(like, key[same], -1))
			same++;
		if (same == ARRAY_SIZE(key))
			return a->kept[i];
	}
	return NULL;
}

static struct record *find_or_add(struct answers *a, const struct record *answer)
{
	struct record *r = find(a, answer);

	if (r)
		return r;
	r = a->kept[a->count++] = record_new(KIND_BATCH);
	record_set_int(r, "step", record_int(answer, "step", -1));
	record_set_int(r, "part", record_int(answer, "part", -1));
	record_set_int(r, "parts", record_int(answer, "parts", -1));
	record_set_int(r, "epoch", record_int(answer, "epoch", 0));
	return r;
}

void answers_keep(struct stage *s, int client, const struct record *answer)
{
	struct answers *a = &s->answers;
	struct record *r;

	if (s->trained || answer->kind != KIND_BATCH)
		return;
	a->sent += answer->tensor_count;
	s->clients[client].position = record_int(answer, "step", 0);
	tidy(s);
	if (!shared(s))
		return;
	r = find_or_add(a, answer);
	for (int i = 0; i < answer->tensor_count; i++) {
		const struct tensor *t = &answer->tensors[i];

		if (record_find(r, t->name)) {
			a->recalled++;
			continue;
		}
		if (!t->owner)
			continue;
		record_add(r, tensor_share(t));
		a->bytes += (int64_t)tensor_bytes(t);
	}
	a->step_bytes = MAX(a->step_bytes, tensors_bytes(r) * record_int(r, "parts", 1));
}

bool stage_recall(struct stage *s, const struct record *want, struct record *answer)
{
	struct record *r = find(&s->answers, answer);

	if (!r)
		return false;
	record_set_int(answer, "epoch", record_int(r, "epoch", 0));
	for (int i = 0; i < want->name_count; i++) {
		const struct tensor *t = record_find(r, want->names[i]);

		if (t && !record_find(answer, t->name))
			record_add(answer, tensor_share(t));
	}
	return answer->tensor_count == want->name_count;
}

void answers_release(struct answers *a)
{
	if (verbosity > 0 && a->sent > 0)
		note("sent %lld tensors; %lld of them had been made for another client", (long long)a->sent,
		     (long long)a->recalled);
	while (a->count > 0)
		drop(a, a->count - 1);
}
