#include "lib/stream/link.h"

#include "lib/base/progress.h"
#include "lib/stream/endpoint.h"
#include "lib/stream/port.h"
#include "lib/stream/wire.h"

#include <errno.h>
#include <unistd.h>

enum {
	PEERS_MAX = 256,
	CONNECTIONS_MAX = 512,
	GRACE_MS = 200,           /* between a link's end and our word for it: its last messages may still be on their way up */
	HEARTBEAT_LEAST = 5,      /* seconds of silence on tcp: a large frame delays the answer to a ping (libzmq 2709) */
	HEARTBEAT_MOST = 60,
};

struct peer {
	struct port port;
	double broken_at;         /* when the link went down; 0 while it is up */
	bool reported;
	enum link_reach reach;
};

struct client {
	uint8_t id[256];
	size_t size;
	int64_t released;         /* in which order; 0: it is there */
};

struct links {
	struct ports *ports;
	struct port router;
	struct peer peers[PEERS_MAX];
	int peer_count;
	struct client clients[CLIENTS_MAX + 1]; /* the last is the one too many */
	int client_count;
	int64_t releases;
	int connections[CONNECTIONS_MAX], connection_count; /* file descriptors of live connections of the router */
	double emptied_at;        /* when the last connection ended; 0: never, or somebody is connected */
	int signal_fd;
	bool watch_stdin, watch_stdout;
	struct endpoint endpoint; /* of the router */
};

/* --- life cycle --- */

struct links *links_new(double patience)
{
	struct links *l = xcalloc(1, sizeof(*l));

	l->ports = ports_new(1000 * (int)MIN(MAX(patience, HEARTBEAT_LEAST), HEARTBEAT_MOST));
	l->signal_fd = -1;
	l->endpoint.lock = -1;
	return l;
}

void links_free(struct links *l, int linger)
{
	if (!l)
		return;
	for (int i = 0; i < l->peer_count; i++)
		port_close(&l->peers[i].port, linger);
	port_close(&l->router, linger);
	ports_free(l->ports);
	endpoint_release(&l->endpoint);
	free(l);
}

int links_bind(struct links *l, const char *where, bool insecure, char *endpoint, char *curve)
{
	bool secure;

	curve[0] = '\0';
	if (endpoint_choose(&l->endpoint, where) < 0)
		return -1;
	secure = strncmp(l->endpoint.bind, "tcp:", 4) == 0 && !insecure;
	if (port_bind(&l->router, l->ports, l->endpoint.bind, endpoint, ENDPOINT_MAX, secure ? curve : NULL) < 0)
		return -1;
	return endpoint_publish(endpoint);
}

int links_connect(struct links *l, const char *endpoint, const char *curve)
{
	int number = 0;

	while (number < l->peer_count && l->peers[number].port.socket)
		number++;
	if (number == PEERS_MAX)
		return fail("more than %d links are open", PEERS_MAX);
	l->peer_count = MAX(l->peer_count, number + 1);
	l->peers[number] = (struct peer){ .port = PORT_INIT };
	return port_connect(&l->peers[number].port, l->ports, endpoint, curve) < 0 ? -1 : number;
}

void links_disconnect(struct links *l, int peer)
{
	port_close(&l->peers[peer].port, 0); /* it is gone: what waits for it would only delay our end */
}

enum link_reach links_reach(const struct links *l, int peer)
{
	return l->peers[peer].reach;
}

/* --- sending --- */

static int send_record(struct port *p, const struct client *to, const struct record *r)
{
	struct buffer *header = wire_pack(r);
	int result = 0;

	if (!header)
		return -1;
	if (to && port_send(p, (void *)to->id, to->size, NULL, true) < 0)
		result = -1;
	if (result == 0)
		result = port_send(p, header->data, header->size, NULL, r->tensor_count > 0);
	for (int i = 0; result == 0 && i < r->tensor_count; i++)
		result = port_send(p, r->tensors[i].data, tensor_bytes(&r->tensors[i]), r->tensors[i].owner,
				    i + 1 < r->tensor_count);
	buffer_unref(header);
	if (result < 0)
		fail_code(errno == EAGAIN ? EXIT_FAIL : EXIT_GONE, "unable to send '%s': %s", kind_name(r->kind), port_error());
	return result;
}

int links_send(struct links *l, int peer, const struct record *r)
{
	if (!l->peers[peer].port.socket)
		return fail_code(EXIT_GONE, "unable to send '%s': the link is closed", kind_name(r->kind));
	return send_record(&l->peers[peer].port, NULL, r);
}

int links_send_client(struct links *l, int client, const struct record *r)
{
	return send_record(&l->router, &l->clients[client], r);
}

/* --- receiving --- */

/* Reads header and frames of one message into e->record, or turns the event into LINK_REFUSED. */
static void receive_record(struct port *p, struct buffer *header, bool more, struct link_event *e)
{
	struct record *r = record_new(KIND_CLOSE);
	int attached = 0, result = wire_unpack(r, header->data, header->size);

	buffer_unref(header);
	while (result == 0 && attached < r->tensor_count && more) {
		struct buffer *frame = port_receive(p, &more);

		result = frame ? wire_attach(r, attached++, frame) : -1;
	}
	if (result == 0 && (more || attached < r->tensor_count))
		result = fail("refused a message: it announces %d tensors but carries %s", r->tensor_count,
			      more ? "more" : "fewer");
	port_drop(p, more);
	e->type = result < 0 ? LINK_REFUSED : LINK_RECORD;
	if (result < 0)
		record_free(r);
	else
		e->record = r;
}

void links_release_client(struct links *l, int client)
{
	l->clients[client].released = ++l->releases;
}

/* A number for a newcomer: a new one, else that of whoever has been gone the longest; its last records have come by now. */
static int free_number(struct links *l)
{
	int best = CLIENTS_MAX;

	if (l->client_count < CLIENTS_MAX)
		return l->client_count++;
	for (int i = 0; i < CLIENTS_MAX; i++)
		if (l->clients[i].released && (best == CLIENTS_MAX || l->clients[i].released < l->clients[best].released))
			best = i;
	return best;
}

static int client_number(struct links *l, const struct buffer *id, bool *fresh)
{
	int n;

	for (int i = 0; i < l->client_count; i++)
		if (l->clients[i].size == id->size && memcmp(l->clients[i].id, id->data, id->size) == 0)
			return i;
	*fresh = true;
	n = free_number(l);
	/* ZeroMQ's ids have at most 255 bytes */
	l->clients[n] = (struct client){ .size = MIN(id->size, sizeof(l->clients[n].id)) };
	memcpy(l->clients[n].id, id->data, l->clients[n].size);
	return n;
}

static bool receive_from_clients(struct links *l, struct link_event *e)
{
	bool more = false;
	struct buffer *id = port_receive(&l->router, &more), *header;

	if (!id)
		return false;
	e->from_client = true;
	e->source = client_number(l, id, &e->fresh);
	buffer_unref(id);
	header = more ? port_receive(&l->router, &more) : NULL;
	if (!header)
		return false;
	receive_record(&l->router, header, more, e);
	return true;
}

static bool receive_from_peers(struct links *l, struct link_event *e)
{
	for (int i = 0; i < l->peer_count; i++) {
		bool more = false;
		struct buffer *header = port_receive(&l->peers[i].port, &more);

		if (header) {
			e->source = i;
			receive_record(&l->peers[i].port, header, more, e);
			return true;
		}
	}
	return false;
}

/* --- links going up and down --- */

static void connection(struct links *l, enum port_event event, int fd)
{
	if (event == PORT_ACCEPTED) {
		if (l->connection_count < CONNECTIONS_MAX)
			l->connections[l->connection_count++] = fd;
		l->emptied_at = 0;
	}
	for (int i = 0; event == PORT_ENDED && i < l->connection_count; i++)
		if (l->connections[i] == fd) {
			l->connections[i] = l->connections[--l->connection_count];
			if (l->connection_count == 0)
				l->emptied_at = now();
			return;
		}
}

static void peer_event(struct peer *p, enum port_event event)
{
	if (event == PORT_CONNECTED)
		p->reach = LINK_REACHED;
	else if (event == PORT_GREETED)
		p->reach = LINK_GREETED;
	else if (event == PORT_ENDED && p->broken_at == 0)
		p->broken_at = now();
}

static void read_monitors(struct links *l)
{
	enum port_event event;
	int fd = -1;

	while (port_event(&l->router, &event, &fd))
		connection(l, event, fd);
	for (int i = 0; i < l->peer_count; i++)
		while (port_event(&l->peers[i].port, &event, &fd))
			peer_event(&l->peers[i], event);
}

static bool overdue(double since, double *next)
{
	double due = since + GRACE_MS / 1000.0;

	if (since == 0)
		return false;
	if (now() >= due)
		return true;
	*next = MIN(*next, due);
	return false;
}

/* Reports an ended link once its grace is over; *next: when to look again. */
static bool report_broken(struct links *l, struct link_event *e, double *next)
{
	for (int i = 0; i < l->peer_count; i++) {
		struct peer *p = &l->peers[i];

		if (p->port.socket && !p->reported && overdue(p->broken_at, next)) {
			p->reported = true;
			*e = (struct link_event){ .type = LINK_BROKEN, .source = i };
			return true;
		}
	}
	if (overdue(l->emptied_at, next)) {
		l->emptied_at = 0;
		*e = (struct link_event){ .type = LINK_CLIENTS_GONE };
		return true;
	}
	return false;
}

/* --- waiting --- */

void links_watch_stdin(struct links *l, bool on)
{
	l->watch_stdin = on;
}

void links_watch_stdout(struct links *l, bool on)
{
	l->watch_stdout = on;
}

void links_watch_signals(struct links *l, int fd)
{
	l->signal_fd = fd;
}

enum { ITEM_SIGNAL, ITEM_STDIN, ITEM_STDOUT, ITEM_ROUTER, ITEM_PEERS = ITEM_ROUTER + 2 };
_Static_assert(ITEM_PEERS + 2 * PEERS_MAX <= PORT_ITEMS, "all can be waited for");

static int fill_items(const struct links *l, struct port_item *items)
{
	int n = ITEM_PEERS;

	items[ITEM_SIGNAL] = (struct port_item){ .fd = l->signal_fd };
	items[ITEM_STDIN] = (struct port_item){ .fd = l->watch_stdin ? STDIN_FILENO : -1 };
	items[ITEM_STDOUT] = (struct port_item){ .fd = l->watch_stdout ? STDOUT_FILENO : -1, .error = true };
	port_items(&l->router, &items[ITEM_ROUTER]);
	for (int i = 0; i < l->peer_count; i++) {
		if (!l->peers[i].port.socket)
			continue;
		port_items(&l->peers[i].port, &items[n]);
		n += 2;
	}
	return n;
}

static bool plain_event(struct links *l, const struct port_item *items, struct link_event *e)
{
	char c;

	if (items[ITEM_SIGNAL].happened) {
		while (read(l->signal_fd, &c, 1) > 0)
			;
		*e = (struct link_event){ .type = LINK_SIGNAL };
		return true;
	}
	if (items[ITEM_STDIN].happened) {
		*e = (struct link_event){ .type = LINK_STDIN };
		return true;
	}
	if (items[ITEM_STDOUT].happened) {
		l->watch_stdout = false;
		*e = (struct link_event){ .type = LINK_STDOUT_CLOSED };
		return true;
	}
	return false;
}

int links_wait(struct links *l, int timeout, struct link_event *e)
{
	struct port_item items[PORT_ITEMS];
	double deadline = timeout < 0 ? 1e18 : now() + timeout / 1000.0;

	for (;;) {
		double next = deadline, t;
		int n, r;

		*e = (struct link_event){ .type = LINK_TIMEOUT };
		if (receive_from_clients(l, e) || receive_from_peers(l, e))
			return 0;
		read_monitors(l);
		if (report_broken(l, e, &next))
			return 0;
		t = now();
		n = fill_items(l, items);
		r = ports_wait(items, n, next >= 1e17 ? -1 : next > t ? (long)((next - t) * 1000) + 1 : 0);
		if (r < 0)
			return -1;
		if (r > 0 && plain_event(l, items, e))
			return 0;
		if (r == 0 && now() >= deadline)
			return 0;
	}
}
