/* downstream.c - the side of a stage that serves: ticket, clients, requests */
#include "lib/stream/downstream.h"

#include "lib/base/progress.h"
#include "lib/stream/answers.h"
#include "lib/stream/fate.h"
#include "lib/stream/wire.h"

#include <sys/stat.h>
#include <unistd.h>

enum { SIGNAL_SECONDS = 5 }; /* from a signal to a client's first word */

/* --- the ticket --- */

void downstream_fault_ticket(int code, const char *sentence)
{
	struct ticket t = { .code = code };
	char line[TICKET_MAX];

	if (isatty(STDOUT_FILENO))
		return;
	snprintf(t.sentence, sizeof(t.sentence), "%s", sentence);
	ticket_print(&t, line);
	write_all(STDOUT_FILENO, line, strlen(line)); /* nobody may be left to read it */
}

int stage_serve(struct stage *s, bool trained)
{
	struct ticket t = { .parts = 1 };
	char line[TICKET_MAX];
	struct stat st;

	s->serving = true;
	s->trained = trained;
	snprintf(t.stage, sizeof(t.stage), "%s", s->name);
	if (links_bind(s->links, s->options.bind, s->options.insecure, t.endpoint, t.curve) < 0)
		return -1;
	if (s->options.insecure)
		note("--insecure: anybody who reaches %s can read the stream", t.endpoint);
	ticket_print(&t, line);
	if (isatty(STDOUT_FILENO))
		note("serving; start the next stage with --from '%.*s'", (int)strlen(line) - 1, line);
	s->stdout_pipe = fstat(STDOUT_FILENO, &st) == 0 && S_ISFIFO(st.st_mode);
	s->clientless_since = now();
	s->ticket_out = true;
	if (write_all(STDOUT_FILENO, line, strlen(line)) < 0)
		s->stdout_closed = true;
	links_watch_stdout(s->links, s->stdout_pipe);
	return 0;
}

void stage_describe(const struct stage *s, struct record *schema)
{
	char *before = s->schema ? record_long_text(s->schema, "lineage") : xstrdup("");
	char *lineage = xasprintf("%s%s\n", before, s->command);

	record_set_int(schema, "version", WIRE_VERSION);
	record_set_int(schema, "incarnation", (int64_t)getpid() << 32 ^ (int64_t)(now() * 1e6));
	record_set_text(schema, "stage", s->name);
	record_add_text(schema, "lineage", lineage);
	free(lineage);
	free(before);
}

/* --- clients --- */

const char *downstream_name(const struct stage *s, int client)
{
	return s->clients[client].role[0] ? s->clients[client].role : "next";
}

void downstream_meet(struct stage *s, int client)
{
	s->clients[client] = (struct client_of_stage){ 0 };
}

static struct request *inbox_at(struct stage *s, int i)
{
	return &s->inbox[(s->inbox_head + i) % INBOX_MAX];
}

/* It has said its last word, or been told ours: what it still asks for is dropped. */
static void part_with(struct stage *s, int client)
{
	int kept = 0;

	if (s->clients[client].state == CLIENT_OPEN)
		s->open_clients--;
	s->clients[client].state = CLIENT_DONE;
	links_release_client(s->links, client);
	for (int i = 0; i < s->inbox_count; i++) {
		struct request q = *inbox_at(s, i);

		if (q.client == client)
			record_free(q.record);
		else
			*inbox_at(s, kept++) = q;
	}
	s->inbox_count = kept;
}

/* said: whether the sentence stands on stderr already; if not, the client will say it. */
static void send_fault(struct stage *s, int client, bool said, int code, const char *sentence)
{
	struct record *f = record_new(KIND_FAULT);

	record_set_int(f, "code", code);
	record_set_text(f, "sentence", sentence);
	record_set_bool(f, "said", said);
	links_send_client(s->links, client, f);
	record_free(f);
}

int downstream_refuse(struct stage *s, int client)
{
	if (s->clients[client].state == CLIENT_OPEN && s->open_clients == 1)
		return -1;
	complain(why());
	send_fault(s, client, true, why_code(), why());
	part_with(s, client);
	return 0;
}

static int check_open(const struct stage *s, int client, const struct record *r)
{
	if (record_int(r, "version", 0) != WIRE_VERSION)
		return fail("refused the '%s' stage, which speaks another version of the wire than %d: "
			    "use programs of one release",
			    downstream_name(s, client), WIRE_VERSION);
	return record_check_facts(r, RECORD_CLIENT_FACTS, downstream_name(s, client));
}

static int take_open(struct stage *s, int client, struct record *r)
{
	struct client_of_stage *c = &s->clients[client];

	snprintf(c->role, sizeof(c->role), "%.31s", record_text(r, "role", "client"));
	if (check_open(s, client, r) < 0) {
		record_free(r);
		return downstream_refuse(s, client);
	}
	if (s->trained && s->had_client) {
		send_fault(s, client, false, EXIT_FAIL, "this run has its loss already: start another run with another -o");
		part_with(s, client);
		record_free(r);
		return 0;
	}
	c->state = CLIENT_OPEN;
	s->had_client = true;
	s->vanished = false;
	s->open_clients++;
	s->clientless_since = 0;
	s->inbox[(s->inbox_head + s->inbox_count++) % INBOX_MAX] = (struct request){ .record = r, .client = client };
	return 0;
}

/* Where a step is asked for: a text, a real or nothing must not be taken for a number. */
static int check_request(const struct stage *s, int client, const struct record *r)
{
	static const char *const names[] = { "step", "part", "parts" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const struct scalar *x = record_scalar(r, names[i]);

		if (x ? x->type != SCALAR_INT : i == 0)
			return fail("the '%s' stage sent '%s' without '%s' as an integer", downstream_name(s, client),
				    kind_name(r->kind), names[i]);
		if (x && i > 0 && (x->integer < 0 || x->integer > INT32_MAX))
			return fail("the '%s' stage asked for %s = %lld, which cannot be", downstream_name(s, client), names[i],
				    (long long)x->integer);
	}
	return 0;
}

static int take_request(struct stage *s, int client, struct record *r)
{
	if (check_request(s, client, r) < 0)
		return -1;
	if (s->inbox_count == INBOX_MAX)
		return fail("more than %d requests are waiting: the '%s' stage ignores its credit", INBOX_MAX,
			    downstream_name(s, client));
	if (r->kind == KIND_WANT)
		answers_asked(s, client, record_int(r, "step", 0));
	*inbox_at(s, s->inbox_count++) = (struct request){ .record = r, .client = client };
	return 0;
}

static int refuse_turn(const struct stage *s, int client, const struct record *r)
{
	switch (s->clients[client].state) {
	case CLIENT_UNKNOWN:
		return fail("a stage sent '%s' before 'open'", kind_name(r->kind));
	case CLIENT_DONE:
		return fail("the '%s' stage sent 'open' after its last word: a new link begins anew", downstream_name(s, client));
	default:
		return fail("the '%s' stage sent '%s' out of turn", downstream_name(s, client), kind_name(r->kind));
	}
}

int downstream_record(struct stage *s, int client, struct record *r)
{
	enum client_state state = s->clients[client].state;

	if (r->kind == KIND_OPEN && state == CLIENT_UNKNOWN)
		return take_open(s, client, r);
	if (state == CLIENT_OPEN && (r->kind == KIND_WANT || r->kind == KIND_GRAD)) {
		if (take_request(s, client, r) == 0)
			return 0;
	} else if (r->kind == KIND_CLOSE || (state == CLIENT_DONE && r->kind != KIND_OPEN)) { /* may have been under way */
		if (state == CLIENT_OPEN) {
			part_with(s, client);
			s->clientless_since = now();
		}
		record_free(r);
		return 0;
	} else {
		refuse_turn(s, client, r);
	}
	record_free(r);
	return downstream_refuse(s, client);
}

void downstream_silence(struct stage *s, int client)
{
	part_with(s, client);
}

/* The last connection ended: every client that had not said goodbye is gone. */
void downstream_gone(struct stage *s)
{
	for (int i = 0; i < CLIENTS_MAX && s->open_clients > 0; i++) {
		if (s->clients[i].state != CLIENT_OPEN)
			continue;
		part_with(s, i);
		s->vanished = true;
		s->clientless_since = now();
		memcpy(s->vanished_role, s->clients[i].role, sizeof(s->vanished_role));
	}
}

/* The end of a line is missed by nobody but us, so we speak of its death; a death in the middle the stage behind reports. */
static int lost(struct stage *s)
{
	char text[200];

	snprintf(text, sizeof(text), "the '%s' stage vanished without a word: run the same line again to resume",
		 s->vanished_role);
	return fate_gone(s, strcmp(s->vanished_role, "encode") == 0, text);
}

int downstream_tend(struct stage *s, int *timeout)
{
	double waited = now() - s->clientless_since;

	if (s->open_clients > 0)
		return 0;
	if (s->had_client && !s->vanished) {
		/* a client of a finished run asks for nothing; behind tee, others may be about to connect */
		if (s->asked || !s->stdout_pipe || s->stdout_closed || waited >= MIN(s->patience, LATE_SECONDS))
			return 1;
		*timeout = LATE_SECONDS * 1000;
		return 0;
	}
	if (s->vanished && (s->trained || s->stdout_closed || waited >= s->patience))
		return lost(s);
	if (!s->had_client && s->stdout_closed)
		return fate_gone(s, true, "the next stage ended before it connected");
	if (!s->had_client && stage_signal(s) && !s->stdout_pipe)
		return fail_code(128 + stage_signal(s), "ended by a signal before any stage connected");
	/* on a pipe somebody may be about to connect */
	if (!s->had_client && fate_overdue(s, MIN(s->patience, SIGNAL_SECONDS), timeout))
		return fate_gone(s, true, "ended by a signal before any stage connected");
	if (!s->had_client && waited >= s->patience)
		return fate_gone(s, false, "no stage connected in time: give the ticket to one, or a longer --patience");
	waited = MAX(1, (s->patience - waited) * 1000);
	*timeout = *timeout < 0 ? (int)waited : MIN(*timeout, (int)waited);
	return 0;
}

/* --- requests --- */

/* A client's answers keep the order of its wants. */
static bool is_behind_own(struct stage *s, int i)
{
	for (int k = 0; k < i; k++)
		if (inbox_at(s, k)->client == inbox_at(s, i)->client)
			return true;
	return false;
}

int downstream_due(struct stage *s, int *timeout)
{
	for (int i = 0; i < s->inbox_count; i++) {
		int later = -1;

		if (!is_behind_own(s, i) && answers_due(s, inbox_at(s, i), &later))
			return i;
		if (later >= 0 && (*timeout < 0 || later < *timeout))
			*timeout = later;
	}
	return -1;
}

void downstream_take(struct stage *s, int due, struct request *q)
{
	*q = *inbox_at(s, due);
	for (int i = due; i > 0; i--)
		*inbox_at(s, i) = *inbox_at(s, i - 1);
	s->inbox_head = (s->inbox_head + 1) % INBOX_MAX;
	s->inbox_count--;
}

int stage_answer(struct stage *s, const struct request *q, const struct record *answer)
{
	answers_keep(s, q->client, answer);
	if (s->clients[q->client].state != CLIENT_OPEN) /* it left while we were at work */
		return 0;
	if (links_send_client(s->links, q->client, answer) == 0 || why_code() == EXIT_GONE)
		return 0;
	return stage_decline(s, q); /* others are served on */
}

int stage_decline(struct stage *s, const struct request *q)
{
	return s->open_clients == 0 ? -1 : downstream_refuse(s, q->client);
}

void stage_end(struct stage *s, int code)
{
	struct record *end = record_new(KIND_END);

	record_set_int(end, "code", code);
	downstream_farewell(s, end);
	record_free(end);
}

void downstream_farewell(struct stage *s, const struct record *word)
{
	for (int i = 0; i < CLIENTS_MAX; i++)
		if (s->clients[i].state == CLIENT_OPEN)
			links_send_client(s->links, i, word);
}
