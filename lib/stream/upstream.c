/* upstream.c - the side of a stage that asks: tickets and servers */
#include "lib/stream/upstream.h"

#include "lib/base/progress.h"
#include "lib/stream/fate.h"
#include "lib/stream/join.h"
#include "lib/stream/schema.h"
#include "lib/stream/wants.h"
#include "lib/stream/wire.h"

#include <errno.h>
#include <unistd.h>

enum { RETRY_SECONDS = 1 };

static bool is_live(const struct server *v)
{
	return v->state == SERVER_CONNECTING || v->state == SERVER_READY;
}

static int count_live(const struct stage *s)
{
	int n = 0;

	for (int i = 0; i < s->server_count; i++)
		n += is_live(&s->servers[i]);
	return n;
}

/* --- servers --- */

static struct server *server_of(struct stage *s, int peer)
{
	for (int i = 0; i < s->server_count; i++)
		if (is_live(&s->servers[i]) && s->servers[i].peer == peer)
			return &s->servers[i];
	return NULL;
}

static int connect_server(struct stage *s, struct server *v)
{
	v->state = SERVER_CLOSED;
	v->peer = links_connect(s->links, v->ticket.endpoint, v->ticket.curve);
	if (v->peer < 0)
		return -1;
	v->state = SERVER_CONNECTING;
	v->dialled_at = now();
	v->open_wants = 0;
	return links_send(s->links, v->peer, s->open);
}

static int add_ticket(struct stage *s, const char *line)
{
	struct server *v = &s->servers[s->server_count];

	if (ticket_parse(&v->ticket, line) < 0)
		return -1;
	if (!v->ticket.stage[0])
		return fate_pass(s, v->ticket.code, v->ticket.sentence);
	if (s->server_count == SERVERS_MAX - 1)
		return fail_code(EXIT_USAGE, "more than %d tickets", SERVERS_MAX - 1);
	if (join_admit(s, &v->ticket) < 0)
		return -1;
	s->server_count++;
	s->alone_since = 0;
	return connect_server(s, v);
}

void upstream_broken(struct stage *s, int peer)
{
	struct server *v = server_of(s, peer);

	if (v)
		v->reach = links_reach(s->links, peer);
	links_disconnect(s->links, peer);
	if (!v)
		return;
	v->state = SERVER_DEAD;
	v->retry_at = now() + RETRY_SECONDS;
	wants_return(s, v);
}

const char *upstream_name(struct stage *s, int peer)
{
	const struct server *v = server_of(s, peer);

	return v ? v->ticket.stage : "front";
}

void upstream_silence(struct stage *s, int peer)
{
	struct server *v = server_of(s, peer);

	if (v)
		v->state = SERVER_CLOSED;
}

/* --- tickets on stdin --- */

static int take_stdin(struct stage *s, const char *text, ssize_t n)
{
	for (ssize_t i = 0; i < n; i++) {
		if (text[i] != '\n') {
			if (s->line_used == TICKET_MAX - 1)
				return add_ticket(s, "a long line");
			s->line[s->line_used++] = text[i];
			continue;
		}
		s->line[s->line_used] = '\0';
		s->line_used = 0;
		if (add_ticket(s, s->line) < 0)
			return -1;
	}
	return 0;
}

int upstream_stdin(struct stage *s)
{
	char text[TICKET_MAX];
	ssize_t n = read(STDIN_FILENO, text, sizeof(text));

	if (n > 0)
		return take_stdin(s, text, n);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	s->stdin_open = false;
	links_watch_stdin(s->links, false);
	return s->line_used ? take_stdin(s, "\n", 1) : 0; /* a last line without its end */
}

/* --- records from servers --- */

/* That of part 0 is taken, whoever comes first: it alone brings the loss's state. */
static int take_schema(struct stage *s, struct server *v, struct record *r)
{
	bool better = !s->schema || (v->ticket.parts > 1 && v->ticket.part == 0 && !s->connected);

	if (schema_check(s, v, r) < 0) {
		record_free(r);
		return -1;
	}
	v->state = SERVER_READY;
	v->served = true;
	v->incarnation = record_int(r, "incarnation", 0);
	record_free(better ? s->schema : r);
	if (better)
		s->schema = r;
	return 0;
}

static void take_end(struct stage *s, struct server *v, const struct record *r)
{
	int64_t code = record_int(r, "code", 0);

	v->state = SERVER_ENDED;
	wants_return(s, v);
	s->ended = join_ended_all(s);
	if (s->end_code == 0)
		s->end_code = code >= 0 && code <= 255 ? (int)code : EXIT_FAIL;
}

int upstream_record(struct stage *s, int peer, struct record *r)
{
	struct server *v = server_of(s, peer);

	if (v && r->kind == KIND_SCHEMA && v->state == SERVER_CONNECTING)
		return take_schema(s, v, r);
	if (v && r->kind == KIND_BATCH && v->state == SERVER_READY)
		return wants_answer(s, v, r);
	if (v && r->kind == KIND_END) {
		take_end(s, v, r);
	} else if (v && r->kind == KIND_CLOSE) {
		upstream_broken(s, peer);
		v->state = SERVER_CLOSED; /* and is not tried again */
	} else if (v) {
		fail("the '%s' stage sent '%s' out of turn", v->ticket.stage, kind_name(r->kind));
		record_free(r);
		return -1;
	}
	record_free(r);
	return 0;
}

/* --- waiting --- */

/* Whether a server of a part may still come: it is dialled, can be dialled again, or its ticket comes. A trained one is not
 * replaced. */
static bool may_come(const struct stage *s, int part)
{
	bool replaced = !s->connected || !record_bool(s->schema, "trained", false);

	if (s->stdin_open && replaced)
		return true;
	for (int i = 0; i < s->server_count; i++) {
		const struct server *v = &s->servers[i];

		if (v->ticket.part == part && (is_live(v) || strncmp(v->ticket.endpoint, "ipc:", 4) != 0))
			return true;
	}
	return false;
}

/* What became of a server, and what to check. */
static void describe_loss(const struct stage *s, const struct server *v, char *text, size_t size)
{
	const char *stage = v->ticket.stage, *where = v->ticket.endpoint;

	if (v->served && strncmp(where, "ipc:", 4) == 0)
		snprintf(text, size, "the '%s' stage vanished without a word: run the same line again to resume", stage);
	else if (v->served)
		snprintf(text, size, "the '%s' stage at '%s' vanished without a word: run the same line again to resume", stage,
			 where);
	else if (v->reach == LINK_NOWHERE)
		snprintf(text, size,
			 "nobody answers at '%s', where the '%s' stage's ticket points: does it still run, and is that its "
			 "address as seen from this host?",
			 where, stage);
	else if (v->reach == LINK_REACHED)
		snprintf(text, size,
			 "'%s' answers, but not as the '%s' stage's ticket says: is the ticket whole, with its curve= key, and "
			 "of the run that is there now?",
			 where, stage);
	else
		snprintf(text, size,
			 "the '%s' stage at '%s' sent no schema within %g seconds: does it hang, or need a longer --patience?",
			 stage, where, s->patience);
}

/* The last one of a part, of any where part is -1. */
static struct server *last_server(struct stage *s, int part)
{
	for (int i = s->server_count - 1; i >= 0; i--)
		if (part < 0 || s->servers[i].ticket.part == part)
			return &s->servers[i];
	return NULL;
}

static int give_up(struct stage *s, int part)
{
	struct server *v = last_server(s, part);
	char text[640];

	if (v == NULL && s->server_count == 0)
		return fate_gone(s, false, "no ticket came on stdin: no stage is in front, as in 'augment DATA | ...', "
				  "or it ended before it served");
	if (v == NULL) {
		snprintf(text, sizeof(text), "no ticket with part=%d/%d came: the '%s' stages' parts are all needed", part,
			 join_parts(s), s->servers[0].ticket.stage);
		return fate_gone(s, false, text);
	}
	if (is_live(v))
		v->reach = MAX(v->reach, links_reach(s->links, v->peer));
	describe_loss(s, v, text, sizeof(text));
	if (v->ticket.parts > 1)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), " (part %d/%d)", part, v->ticket.parts);
	return fate_gone(s, false, text);
}

/* Nothing is kept from being saved: no stage in front is there to go on with, or the reader of an evaluation waits. */
static bool may_leave(const struct stage *s, int absent)
{
	return absent >= 0 || (!s->options.serves && !record_bool(s->schema, "trained", false));
}

static int interrupted(struct stage *s, int absent)
{
	const struct server *v = last_server(s, absent);

	if (v != NULL)
		return fail_code(128 + stage_signal(s), "interrupted while it waited for the '%s' stage at '%s'", v->ticket.stage,
				 v->ticket.endpoint);
	note("interrupted while it waited for a ticket");
	return fate_pass(s, 128 + stage_signal(s), "interrupted while it waited for a ticket");
}

static int reconnect(struct stage *s)
{
	for (int i = 0; i < s->server_count; i++) {
		struct server *v = &s->servers[i];

		if (v->state != SERVER_DEAD || now() < v->retry_at)
			continue;
		if (connect_server(s, v) < 0)
			return -1;
	}
	return 0;
}

int upstream_tend(struct stage *s, int *timeout)
{
	int absent = join_absent(s);
	double left;

	if (wants_assign(s) < 0)
		return -1;
	/* in turn: what the stage behind says is enough */
	if (may_leave(s, absent) && fate_overdue(s, s->options.serves ? 2 : 1, timeout))
		return interrupted(s, absent);
	if (absent < 0)
		s->alone_since = 0;
	if (absent < 0 || (s->server_count == 0 && s->stdin_open))
		return 0; /* whoever holds the pipe open may take its time: to spool a tar, to calibrate */
	if (s->alone_since == 0)
		s->alone_since = now();
	left = s->alone_since + s->patience - now();
	if (left <= 0 || !may_come(s, absent))
		return give_up(s, absent);
	left = MIN(left, RETRY_SECONDS) * 1000 + 1;
	*timeout = *timeout < 0 ? (int)left : MIN(*timeout, (int)left);
	return reconnect(s);
}

int stage_room(const struct stage *s)
{
	int n = join_parts(s), servers = n > 1 ? n : MAX(1, count_live(s));

	return (MIN(servers * wants_credit(s), WANTS_MAX) - s->want_count) / n;
}

void stage_reply(struct stage *s, const struct record *grad)
{
	for (int i = 0; i < s->server_count; i++) {
		struct server *v = &s->servers[i];
		struct record *own = v->state == SERVER_READY && v->ticket.parts > 1 ? join_cut(v, grad) : NULL;

		if (v->state != SERVER_READY)
			continue;
		links_send(s->links, v->peer, own ? own : grad); /* a broken link is reported where we wait next */
		record_free(own);
		if (!own)
			return;
	}
}

/* --- beginning and end --- */

const struct record *stage_schema(const struct stage *s)
{
	return s->schema;
}

int upstream_open(struct stage *s, const struct record *open)
{
	s->open = record_new(KIND_OPEN);
	record_set_int(s->open, "version", WIRE_VERSION);
	record_set_text(s->open, "role", s->name);
	record_set_text(s->open, "command", s->command);
	for (int i = 0; open && i < open->scalar_count; i++) {
		const struct scalar *x = &open->scalars[i];

		if (x->type == SCALAR_BOOL)
			record_set_bool(s->open, x->name, x->flag);
		else if (strncmp(x->name, "fact.", 5) != 0)
			bug("stage_connect takes facts and truth values, not '%s'", x->name);
	}
	if (open)
		record_copy_facts(s->open, open);
	for (int i = 0; i < s->options.from.count; i++)
		if (add_ticket(s, s->options.from.items[i]) < 0)
			return -1;
	if (s->options.from.count == 0) {
		if (isatty(STDIN_FILENO))
			return fail_code(EXIT_USAGE, "stdin is a terminal: pipe a stage such as 'augment DATA |' in front, or "
						     "give --from TICKET");
		s->stdin_open = true;
		links_watch_stdin(s->links, true);
	}
	return 0;
}

void upstream_farewell(struct stage *s, const struct record *word)
{
	for (int i = 0; i < s->server_count; i++) {
		struct server *v = &s->servers[i];

		if (v->state == SERVER_CONNECTING && now() - v->dialled_at > 1)
			links_disconnect(s->links, v->peer); /* nobody is there to hear it */
		else if (is_live(v))
			links_send(s->links, v->peer, word);
	}
}
