/* pump.c - what a stage waits for, and the calls that wait */
#include "lib/stream/pump.h"

#include "lib/base/progress.h"
#include "lib/stream/downstream.h"
#include "lib/stream/fate.h"
#include "lib/stream/join.h"
#include "lib/stream/upstream.h"
#include "lib/stream/wants.h"

/* --- one event --- */

/* A failed line must not look like one that is done, whatever a neighbour sends. */
static int exit_code(int64_t code)
{
	return code >= 1 && code <= 255 ? (int)code : EXIT_FAIL;
}

static const char *name_of(struct stage *s, const struct link_event *e)
{
	return e->from_client ? downstream_name(s, e->source) : upstream_name(s, e->source);
}

/* A neighbour's last word. Whoever fails says why, and in the fault that it did; what nobody has said is said here. */
static int take_fault(struct stage *s, struct link_event *e)
{
	const char *sentence = record_text(e->record, "sentence", "it gave no reason");
	int code = exit_code(record_int(e->record, "code", EXIT_FAIL));

	fail_code(code, "the '%s' stage failed: %s", name_of(s, e), sentence);
	if (!record_bool(e->record, "said", false)) {
		progress_close();
		complain(why());
	}
	if (e->from_client)
		downstream_silence(s, e->source);
	else
		upstream_silence(s, e->source);
	if (e->from_client && !s->trained && s->open_clients > 0) { /* its line has ended, the others' go on */
		record_free(e->record);
		return 0;
	}
	fate_pass(s, code, sentence);
	record_free(e->record);
	return -1;
}

static int refuse_surplus(struct stage *s, struct link_event *e)
{
	record_free(e->record);
	fail("refused a stage: %d are served already", CLIENTS_MAX);
	return downstream_refuse(s, e->source);
}

/* A message that breaks the wire's rules, after fail(). */
static int refuse_message(struct stage *s, const struct link_event *e)
{
	fail("%s (sent by the '%s' stage)", why(), name_of(s, e));
	if (!e->from_client)
		return -1;
	return s->clients[e->source].state == CLIENT_DONE ? 0 : downstream_refuse(s, e->source);
}

static int take_record(struct stage *s, struct link_event *e)
{
	int64_t stop = record_int(e->record, "stop", 0);

	if (stop > 0 && stop < 65)
		s->signal_seen = (int)stop;
	if (e->record->kind == KIND_FAULT)
		return take_fault(s, e);
	return e->from_client ? downstream_record(s, e->source, e->record) : upstream_record(s, e->source, e->record);
}

/* Waits for one event, at most timeout milliseconds, and attends to it. 0, or -1 when the line must end. */
static int pump(struct stage *s, int timeout)
{
	struct link_event e;

	fate_hint(s, &timeout);
	if (links_wait(s->links, timeout, &e) < 0)
		return -1;
	if (e.from_client && e.fresh)
		downstream_meet(s, e.source);
	if (e.from_client && e.source == CLIENTS_MAX)
		return refuse_surplus(s, &e);
	switch (e.type) {
	case LINK_RECORD:
		return take_record(s, &e);
	case LINK_REFUSED:
		return refuse_message(s, &e);
	case LINK_BROKEN:
		upstream_broken(s, e.source);
		return 0;
	case LINK_CLIENTS_GONE:
		downstream_gone(s);
		return 0;
	case LINK_STDIN:
		return upstream_stdin(s);
	case LINK_STDOUT_CLOSED:
		s->stdout_closed = true;
		return 0;
	default:
		return 0;
	}
}

/* --- for upstream --- */

/* Waits while the caller lacks something from upstream. 0, or -1. */
static int wait_upstream(struct stage *s)
{
	int timeout = -1, other = -1;

	if (upstream_tend(s, &timeout) < 0)
		return -1;
	if (s->serving && downstream_tend(s, &other) < 0)
		return -1;
	if (other >= 0 && (timeout < 0 || other < timeout))
		timeout = other;
	return pump(s, timeout);
}

int stage_connect(struct stage *s, const struct record *open)
{
	if (upstream_open(s, open) < 0)
		return -1;
	while (join_absent(s) >= 0 && !s->ended)
		if (wait_upstream(s) < 0)
			return -1;
	s->connected = true;
	return s->schema ? 0 : fail_code(EXIT_GONE, "the stage in front ended before it served");
}

int stage_take(struct stage *s, struct record **answer)
{
	int result;

	if (s->want_count == 0)
		bug("stage_take without a want");
	while ((result = wants_take(s, answer)) == 0) {
		if (s->ended)
			return 0;
		if (wait_upstream(s) < 0)
			return -1;
	}
	return result;
}

/* --- for downstream --- */

int stage_next(struct stage *s, struct request *q)
{
	int due, timeout = -1;

	record_free(s->answered);
	s->answered = NULL;
	while ((due = downstream_due(s, &timeout)) < 0) {
		int done = downstream_tend(s, &timeout);

		if (done != 0)
			return done > 0 ? 0 : -1;
		if (pump(s, timeout) < 0)
			return -1;
		timeout = -1;
	}
	downstream_take(s, due, q);
	s->answered = q->record;
	return 1;
}

int stage_pending(struct stage *s)
{
	int later = -1;

	for (int i = 0; i < 4 && downstream_due(s, &later) < 0; i++) /* a few events may stand before it */
		if (pump(s, 0) < 0)
			return -1;
	return downstream_due(s, &later) >= 0;
}

void pump_client(struct stage *s)
{
	double end = now() + MIN(s->patience, LATE_SECONDS);

	while (!s->had_client && s->stdout_pipe && !s->stdout_closed && now() < end)
		pump(s, 100); /* what else happens matters no more */
}
