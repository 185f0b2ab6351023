/*
 * wants.c - what a stage has asked for and not yet taken: a ring in the order of the calls, each want at one server
 *
 * What several servers give together is as many wants, its shares, one after the other.
 * A server answers in the order in which it was sent its wants. That is not the ring's order once it has been given those of a
 * worker that died.
 */
#include "lib/stream/wants.h"

#include "lib/stream/join.h"

static struct want *want_at(struct stage *s, int i)
{
	return &s->wants[(s->want_head + i) % WANTS_MAX];
}

/* --- asking --- */

int wants_credit(const struct stage *s)
{
	return s->schema && record_bool(s->schema, "trained", false) ? 1 : CREDIT;
}

static struct server *least_busy(struct stage *s, int home)
{
	struct server *best = NULL;

	for (int i = 0; i < s->server_count; i++) {
		struct server *v = &s->servers[i];

		if (v->state == SERVER_READY && v->ticket.part == home && v->open_wants < wants_credit(s) &&
		    (!best || v->open_wants < best->open_wants))
			best = v;
	}
	return best;
}

/* A server that ended answers no more: where others have answered the same step, it never becomes whole. */
static int check_over(struct stage *s, const struct want *w, int home)
{
	for (int i = 0; join_ended(s, home) && i < s->want_count; i++) {
		const struct want *other = want_at(s, i);

		if (other->step == w->step && other->answer)
			return fail("the '%s' stage of part %d/%d ended before step %lld, which that of part %d/%d gave",
				    s->servers[other->server].ticket.stage, home, join_parts(s), (long long)w->step + 1,
				    s->servers[other->server].ticket.part, join_parts(s));
	}
	return 0;
}

int wants_assign(struct stage *s)
{
	for (int i = 0; i < s->want_count; i++) {
		struct want *w = want_at(s, i);
		int home = join_home(s, w->part, w->parts);
		struct server *v;

		if (w->server >= 0)
			continue;
		v = least_busy(s, home);
		if (!v && check_over(s, w, home) < 0)
			return -1;
		if (!v || links_send(s->links, v->peer, w->request) < 0)
			continue; /* its end is about to be reported */
		w->server = (int)(v - s->servers);
		w->turn = s->turns++;
		v->open_wants++;
	}
	return 0;
}

static void add_want(struct stage *s, struct want like, const struct record *names)
{
	struct want *w = want_at(s, s->want_count);

	if (s->want_count == WANTS_MAX)
		bug("more than %d wants are open", WANTS_MAX);
	*w = like;
	w->server = -1;
	w->request = record_new(KIND_WANT);
	record_set_int(w->request, "step", w->step);
	record_set_int(w->request, "part", w->part);
	record_set_int(w->request, "parts", w->parts);
	for (int i = 0; i < names->name_count; i++)
		record_name(w->request, names->names[i]);
	s->want_count++;
}

void stage_want(struct stage *s, int64_t step, int part, int parts, const struct record *names)
{
	int shares = join_shares(s, parts), before = s->want_count;

	for (int i = 0; i < shares; i++) {
		struct want w = { .step = step, .part = part * shares + i, .parts = parts * shares, .asked_part = part,
				  .asked_parts = parts };

		/* a last step may be too short for every server; what nobody has rows of a server has to refuse */
		if (shares == 1 || join_rows(s, step, w.part, w.parts) > 0 ||
		    (i == shares - 1 && s->want_count == before))
			add_want(s, w, names);
	}
	want_at(s, s->want_count - 1)->last = true;
	wants_assign(s); /* what fails fails again where the answer is waited for */
}

void wants_return(struct stage *s, const struct server *v)
{
	for (int i = 0; i < s->want_count; i++) /* the answers are pure functions of the wants: any other server may give them */
		if (want_at(s, i)->server == v - s->servers && !want_at(s, i)->answer)
			want_at(s, i)->server = -1;
}

/* --- answers --- */

/* An answer holds what was asked for, as the schema offered it; only the first dimension may be smaller. */
static int check_answer(const struct stage *s, const struct server *v, const struct want *w, const struct record *r)
{
	for (int i = 0; i < w->request->name_count; i++) {
		const char *name = w->request->names[i];
		const struct tensor *t = record_find(r, name), *offer = record_offered(s->schema, name);
		struct tensor like;
		char a[128], b[128];

		if (!t)
			return fail("the '%s' stage sent no '%s' in step %lld", v->ticket.stage, name, (long long)w->step + 1);
		if (!offer)
			continue;
		like = *offer;
		if (t->rank > 0 && like.rank > 0 && t->shape[0] >= 1 && t->shape[0] <= like.shape[0])
			like.shape[0] = t->shape[0];
		if (!tensor_same_spec(t, &like))
			return fail("the '%s' stage sent '%s' as %s, but offered %s", v->ticket.stage, name,
				    tensor_spec(t, a, sizeof(a)), tensor_spec(offer, b, sizeof(b)));
		if (t->shape[0] != record_find(r, w->request->names[0])->shape[0])
			return fail("the '%s' stage sent %lld rows of '%s', but %lld of '%s' in step %lld", v->ticket.stage,
				    (long long)record_find(r, w->request->names[0])->shape[0], w->request->names[0],
				    (long long)t->shape[0], name, (long long)w->step + 1);
	}
	if (r->tensor_count > w->request->name_count)
		return fail("the '%s' stage sent %d tensors in step %lld, and was asked for %d", v->ticket.stage, r->tensor_count,
			    (long long)w->step + 1, w->request->name_count);
	return join_check(s, v, w, r);
}

/* What a server has to answer next: the want that was sent to it first, which a dead worker's need not be, however early its
 * step. */
static struct want *due_want(struct stage *s, const struct server *v)
{
	struct want *due = NULL;

	for (int i = 0; i < s->want_count; i++) {
		struct want *w = want_at(s, i);

		if (w->server == v - s->servers && !w->answer && (!due || w->turn < due->turn))
			due = w;
	}
	return due;
}

static int check_place(const struct server *v, const struct want *w, const struct record *r)
{
	const struct scalar *step = record_scalar(r, "step");
	long long n = record_int(r, "step", -1) + 1;

	if (!step || step->type != SCALAR_INT)
		return fail("the '%s' stage sent a batch without 'step' as an integer", v->ticket.stage);
	if (!w)
		return fail("the '%s' stage answered step %lld, but no want was open: each is answered once", v->ticket.stage, n);
	if (record_int(r, "step", -1) != w->step)
		return fail("the '%s' stage answered step %lld, but step %lld was its next want", v->ticket.stage, n,
			    (long long)w->step + 1);
	if (record_int(r, "part", 0) != w->part || record_int(r, "parts", 1) != w->parts)
		return fail("the '%s' stage answered another part of step %lld than %d of %d, its next want", v->ticket.stage, n,
			    w->part, w->parts);
	return 0;
}

int wants_answer(struct stage *s, struct server *v, struct record *r)
{
	struct want *w = due_want(s, v);

	if (check_place(v, w, r) < 0 || check_answer(s, v, w, r) < 0) {
		record_free(r);
		return -1;
	}
	w->answer = r;
	v->open_wants--;
	return 0;
}

int wants_take(struct stage *s, struct record **answer)
{
	struct want *shares[SERVERS_MAX];
	int n = 0;

	do {
		shares[n] = want_at(s, n);
		if (!shares[n]->answer)
			return 0;
	} while (!shares[n++]->last);
	*answer = join_answers(s, shares, n);
	for (int i = 0; i < n; i++)
		record_free(shares[i]->request);
	s->want_head = (s->want_head + n) % WANTS_MAX;
	s->want_count -= n;
	wants_assign(s);
	return *answer ? 1 : -1;
}
