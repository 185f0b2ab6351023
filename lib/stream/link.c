#include "lib/stream/link.h"

#include "lib/base/progress.h"
#include "lib/stream/endpoint.h"
#include "lib/stream/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <zmq.h>

enum {
	PEERS_MAX = 256,
	CONNECTIONS_MAX = 512,
	HIGH_WATER = 1024,        /* messages; credit allows few, but ZeroMQ learns late which have left, and sends no more */
	GRACE_MS = 200,           /* between a link's end and our word for it: its last messages may still be on their way up */
	HEARTBEAT_LEAST = 5,      /* seconds of silence on tcp: a large frame delays the answer to a ping (libzmq 2709) */
	HEARTBEAT_MOST = 60,
	CONNECT_TIMEOUT_MS = 5000,
	NEVER_MS = 1000000000,
};
#define FRAME_MAX (1LL << 32)

struct peer {
	void *socket, *monitor;   /* NULL: closed */
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
	void *context, *router, *router_monitor;
	struct peer peers[PEERS_MAX];
	int peer_count, monitors;
	struct client clients[CLIENTS_MAX + 1]; /* the last is the one too many */
	int client_count;
	int64_t releases;
	int connections[CONNECTIONS_MAX], connection_count; /* file descriptors of live connections of the router */
	double emptied_at;        /* when the last connection ended; 0: never, or somebody is connected */
	int heartbeat_ms, signal_fd;
	bool watch_stdin, watch_stdout;
	struct endpoint endpoint; /* of the router */
};

/* A received frame: the buffer's memory is the message's own. */
struct frame {
	struct buffer buffer;
	zmq_msg_t msg;
};

/* --- life cycle --- */

struct links *links_new(double patience)
{
	struct links *l = xcalloc(1, sizeof(*l));

	l->context = zmq_ctx_new();
	if (!l->context)
		die(EXIT_FAIL, "unable to start ZeroMQ: %s", zmq_strerror(errno));
	l->signal_fd = -1;
	l->endpoint.lock = -1;
	l->heartbeat_ms = 1000 * (int)MIN(MAX(patience, HEARTBEAT_LEAST), HEARTBEAT_MOST);
	return l;
}

static void close_socket(void **socket, int linger)
{
	if (*socket) {
		zmq_setsockopt(*socket, ZMQ_LINGER, &linger, sizeof(linger));
		zmq_close(*socket);
	}
	*socket = NULL;
}

static void close_peer(struct peer *p, int linger)
{
	if (p->socket)
		zmq_socket_monitor(p->socket, NULL, 0);
	close_socket(&p->socket, linger);
	close_socket(&p->monitor, 0);
}

void links_free(struct links *l, int linger)
{
	if (!l)
		return;
	for (int i = 0; i < l->peer_count; i++)
		close_peer(&l->peers[i], linger);
	if (l->router)
		zmq_socket_monitor(l->router, NULL, 0);
	close_socket(&l->router, linger);
	close_socket(&l->router_monitor, 0);
	while (zmq_ctx_term(l->context) < 0 && errno == EINTR)
		;
	endpoint_release(&l->endpoint);
	free(l);
}

/* --- sockets --- */

static void set_int(void *socket, int option, int value)
{
	zmq_setsockopt(socket, option, &value, sizeof(value));
}

/* A host name that cannot be resolved only shows in ZeroMQ's decision to try again. */
enum {
	BEGINNINGS = ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_CONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED,
	ENDINGS = ZMQ_EVENT_CLOSED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CONNECT_RETRIED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
		  ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH,
};

static void *monitor(struct links *l, void *socket, int number)
{
	char name[64];
	void *m;

	snprintf(name, sizeof(name), "inproc://monitor-%d", number);
	if (zmq_socket_monitor(socket, name, ENDINGS | BEGINNINGS) < 0)
		return NULL;
	m = zmq_socket(l->context, ZMQ_PAIR);
	if (m && zmq_connect(m, name) < 0)
		close_socket(&m, 0);
	return m;
}

static void *open_socket(struct links *l, int type, const char *endpoint)
{
	void *s = zmq_socket(l->context, type);
	int64_t frame_max = FRAME_MAX;

	if (!s)
		return NULL;
	set_int(s, ZMQ_SNDHWM, HIGH_WATER);
	set_int(s, ZMQ_RCVHWM, HIGH_WATER);
	set_int(s, ZMQ_RECONNECT_IVL, NEVER_MS); /* -1 would drop messages that are received but not yet read */
	set_int(s, ZMQ_CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS);
	zmq_setsockopt(s, ZMQ_MAXMSGSIZE, &frame_max, sizeof(frame_max));
	/* a lost host is only seen by its silence; the other side need not ask for heartbeats itself */
	if (strncmp(endpoint, "tcp:", 4) == 0) {
		set_int(s, ZMQ_HEARTBEAT_IVL, MIN(l->heartbeat_ms / 4, 5000));
		set_int(s, ZMQ_HEARTBEAT_TIMEOUT, l->heartbeat_ms);
		set_int(s, ZMQ_HEARTBEAT_TTL, l->heartbeat_ms);
		set_int(s, ZMQ_IPV6, strchr(endpoint, '[') != NULL);
	}
	return s;
}

static int secure_server(void *socket, char *curve)
{
	char secret[41];

	if (zmq_curve_keypair(curve, secret) < 0)
		return fail("unable to make a key: this ZeroMQ has no CURVE; --insecure does without");
	set_int(socket, ZMQ_CURVE_SERVER, 1);
	zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret, 41);
	memset(secret, 0, sizeof(secret));
	return 0;
}

static int bind_router(struct links *l, const char *where, char *endpoint)
{
	size_t size = ENDPOINT_MAX;

	l->router_monitor = monitor(l, l->router, -1);
	if (!l->router_monitor || zmq_bind(l->router, where) < 0 ||
	    zmq_getsockopt(l->router, ZMQ_LAST_ENDPOINT, endpoint, &size) < 0) {
		bool misspelt = errno == EINVAL || errno == ENODEV;

		return fail_code(misspelt ? EXIT_USAGE : EXIT_FAIL, "unable to bind '%s': %s%s", where, zmq_strerror(errno),
				 misspelt ? ": write tcp://HOST:PORT, HOST an address of this host" : "");
	}
	return endpoint_publish(endpoint);
}

int links_bind(struct links *l, const char *where, bool insecure, char *endpoint, char *curve)
{
	curve[0] = '\0';
	if (endpoint_choose(&l->endpoint, where) < 0)
		return -1;
	l->router = open_socket(l, ZMQ_ROUTER, l->endpoint.bind);
	if (!l->router)
		return fail("unable to open a socket: %s", zmq_strerror(errno));
	set_int(l->router, ZMQ_ROUTER_MANDATORY, 1);
	if (strncmp(l->endpoint.bind, "tcp:", 4) == 0 && !insecure && secure_server(l->router, curve) < 0)
		return -1;
	return bind_router(l, l->endpoint.bind, endpoint);
}

static int secure_client(void *socket, const char *curve)
{
	char public[41], secret[41];

	if (zmq_curve_keypair(public, secret) < 0)
		return fail("unable to make a key: this ZeroMQ has no CURVE; start the server with --insecure");
	if (zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, curve, 41) < 0)
		return fail_code(EXIT_USAGE, "the ticket's key '%s' is damaged", curve);
	zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, public, 41);
	zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret, 41);
	return 0;
}

int links_connect(struct links *l, const char *endpoint, const char *curve)
{
	int number = 0;
	struct peer *p;

	while (number < l->peer_count && l->peers[number].socket)
		number++;
	if (number == PEERS_MAX)
		return fail("more than %d links are open", PEERS_MAX);
	p = &l->peers[number];
	memset(p, 0, sizeof(*p));
	p->socket = open_socket(l, ZMQ_DEALER, endpoint);
	if (!p->socket)
		return fail("unable to open a socket: %s", zmq_strerror(errno));
	l->peer_count = MAX(l->peer_count, number + 1);
	if (*curve && secure_client(p->socket, curve) < 0) {
		close_peer(p, 0);
		return -1;
	}
	p->monitor = monitor(l, p->socket, l->monitors++);
	if (!p->monitor || zmq_connect(p->socket, endpoint) < 0) {
		int error = errno;

		close_peer(p, 0);
		return fail_code(EXIT_USAGE, "unable to connect to '%s': %s: a ticket names tcp://HOST:PORT or ipc://PATH",
				 endpoint, zmq_strerror(error));
	}
	return number;
}

void links_disconnect(struct links *l, int peer)
{
	close_peer(&l->peers[peer], 0); /* it is gone: what waits for it would only delay our end */
}

enum link_reach links_reach(const struct links *l, int peer)
{
	return l->peers[peer].reach;
}

/* --- sending --- */

static void unref(void *data, void *hint)
{
	(void)data;
	buffer_unref(hint);
}

/* A message over a tensor's memory: shared when it has an owner and is worth it, else copied. */
static void message_of(zmq_msg_t *msg, void *data, size_t size, struct buffer *owner)
{
	if (owner && size >= 1024) {
		zmq_msg_init_data(msg, data, size, unref, buffer_ref(owner));
		return;
	}
	if (zmq_msg_init_size(msg, size) < 0)
		die(EXIT_FAIL, "out of memory for a message of %zu bytes", size);
	if (size)
		memcpy(zmq_msg_data(msg), data, size);
}

static int send_frame(void *socket, void *data, size_t size, struct buffer *owner, bool more)
{
	zmq_msg_t msg;
	int r;

	message_of(&msg, data, size, owner);
	do
		r = zmq_msg_send(&msg, socket, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0));
	while (r < 0 && errno == EINTR);
	if (r < 0) {
		int error = errno;

		zmq_msg_close(&msg);
		errno = error;
	}
	return r < 0 ? -1 : 0;
}

static int send_record(void *socket, const struct client *to, const struct record *r)
{
	struct buffer *header = wire_pack(r);
	int result = 0;

	if (!header)
		return -1;
	if (to && send_frame(socket, (void *)to->id, to->size, NULL, true) < 0)
		result = -1;
	if (result == 0)
		result = send_frame(socket, header->data, header->size, NULL, r->tensor_count > 0);
	for (int i = 0; result == 0 && i < r->tensor_count; i++)
		result = send_frame(socket, r->tensors[i].data, tensor_bytes(&r->tensors[i]), r->tensors[i].owner,
				    i + 1 < r->tensor_count);
	buffer_unref(header);
	if (result < 0)
		fail_code(errno == EAGAIN ? EXIT_FAIL : EXIT_GONE, "unable to send '%s': %s", kind_name(r->kind),
			  zmq_strerror(errno));
	return result;
}

int links_send(struct links *l, int peer, const struct record *r)
{
	if (!l->peers[peer].socket)
		return fail_code(EXIT_GONE, "unable to send '%s': the link is closed", kind_name(r->kind));
	return send_record(l->peers[peer].socket, NULL, r);
}

int links_send_client(struct links *l, int client, const struct record *r)
{
	return send_record(l->router, &l->clients[client], r);
}

/* --- receiving --- */

static void release_frame(struct buffer *b)
{
	struct frame *f = (struct frame *)b;

	zmq_msg_close(&f->msg);
	free(f);
}

/* One frame as a buffer; NULL when none is waiting. */
static struct buffer *receive_frame(void *socket, bool *more)
{
	struct frame *f = xcalloc(1, sizeof(*f));
	int r;

	zmq_msg_init(&f->msg);
	do
		r = zmq_msg_recv(&f->msg, socket, ZMQ_DONTWAIT);
	while (r < 0 && errno == EINTR);
	if (r < 0) {
		release_frame(&f->buffer);
		return NULL;
	}
	atomic_init(&f->buffer.refs, 1);
	f->buffer.data = zmq_msg_data(&f->msg);
	f->buffer.size = zmq_msg_size(&f->msg);
	f->buffer.release = release_frame;
	*more = zmq_msg_more(&f->msg);
	return &f->buffer;
}

static void drop_rest(void *socket, bool more)
{
	while (more) {
		struct buffer *b = receive_frame(socket, &more);

		if (!b)
			return;
		buffer_unref(b);
	}
}

/* Reads header and frames of one message into e->record, or turns the event into LINK_REFUSED. */
static void receive_record(void *socket, struct buffer *header, bool more, struct link_event *e)
{
	struct record *r = record_new(KIND_CLOSE);
	int attached = 0, result = wire_unpack(r, header->data, header->size);

	buffer_unref(header);
	while (result == 0 && attached < r->tensor_count && more) {
		struct buffer *frame = receive_frame(socket, &more);

		result = frame ? wire_attach(r, attached++, frame) : -1;
	}
	if (result == 0 && (more || attached < r->tensor_count))
		result = fail("refused a message: it announces %d tensors but carries %s", r->tensor_count,
			      more ? "more" : "fewer");
	drop_rest(socket, more);
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
	struct buffer *id = l->router ? receive_frame(l->router, &more) : NULL, *header;

	if (!id)
		return false;
	e->from_client = true;
	e->source = client_number(l, id, &e->fresh);
	buffer_unref(id);
	header = more ? receive_frame(l->router, &more) : NULL;
	if (!header)
		return false;
	receive_record(l->router, header, more, e);
	return true;
}

static bool receive_from_peers(struct links *l, struct link_event *e)
{
	for (int i = 0; i < l->peer_count; i++) {
		bool more = false;
		struct buffer *header = l->peers[i].socket ? receive_frame(l->peers[i].socket, &more) : NULL;

		if (header) {
			e->source = i;
			receive_record(l->peers[i].socket, header, more, e);
			return true;
		}
	}
	return false;
}

/* --- links going up and down --- */

/* Reads one monitor event: its number and value. false when none is waiting. */
static bool monitor_event(void *m, uint16_t *event, int *value)
{
	bool more = false;
	struct buffer *b = m ? receive_frame(m, &more) : NULL;

	if (!b)
		return false;
	if (b->size >= 6) {
		memcpy(event, b->data, 2);
		memcpy(value, (const char *)b->data + 2, 4);
	}
	buffer_unref(b);
	drop_rest(m, more);
	return true;
}

static void connection(struct links *l, uint16_t event, int fd)
{
	if (!(event & (ENDINGS | ZMQ_EVENT_ACCEPTED)))
		return;
	if (event == ZMQ_EVENT_ACCEPTED) {
		if (l->connection_count < CONNECTIONS_MAX)
			l->connections[l->connection_count++] = fd;
		l->emptied_at = 0;
		return;
	}
	for (int i = 0; i < l->connection_count; i++)
		if (l->connections[i] == fd) {
			l->connections[i] = l->connections[--l->connection_count];
			if (l->connection_count == 0)
				l->emptied_at = now();
			return;
		}
}

static void peer_event(struct peer *p, uint16_t event)
{
	if (event == ZMQ_EVENT_CONNECTED)
		p->reach = LINK_REACHED;
	else if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED)
		p->reach = LINK_GREETED;
	else if ((event & ENDINGS) && p->broken_at == 0)
		p->broken_at = now();
}

static void read_monitors(struct links *l)
{
	uint16_t event = 0;
	int value = 0;

	while (monitor_event(l->router_monitor, &event, &value))
		connection(l, event, value);
	for (int i = 0; i < l->peer_count; i++)
		while (l->peers[i].socket && monitor_event(l->peers[i].monitor, &event, &value))
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

		if (p->socket && !p->reported && overdue(p->broken_at, next)) {
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

enum { ITEM_SIGNAL, ITEM_STDIN, ITEM_STDOUT, ITEM_ROUTER, ITEM_MONITOR, ITEM_PEERS };

static int fill_items(const struct links *l, zmq_pollitem_t *items)
{
	int n = ITEM_PEERS;

	items[ITEM_SIGNAL] = (zmq_pollitem_t){ .fd = l->signal_fd, .events = l->signal_fd >= 0 ? ZMQ_POLLIN : 0 };
	items[ITEM_STDIN] = (zmq_pollitem_t){ .fd = l->watch_stdin ? STDIN_FILENO : -1, .events = ZMQ_POLLIN };
	items[ITEM_STDOUT] = (zmq_pollitem_t){ .fd = l->watch_stdout ? STDOUT_FILENO : -1, .events = ZMQ_POLLERR };
	items[ITEM_ROUTER] = (zmq_pollitem_t){ .socket = l->router, .fd = -1, .events = ZMQ_POLLIN };
	items[ITEM_MONITOR] = (zmq_pollitem_t){ .socket = l->router_monitor, .fd = -1, .events = ZMQ_POLLIN };
	for (int i = 0; i < l->peer_count; i++) {
		if (!l->peers[i].socket)
			continue;
		items[n++] = (zmq_pollitem_t){ .socket = l->peers[i].socket, .fd = -1, .events = ZMQ_POLLIN };
		items[n++] = (zmq_pollitem_t){ .socket = l->peers[i].monitor, .fd = -1, .events = ZMQ_POLLIN };
	}
	return n;
}

static bool plain_event(struct links *l, const zmq_pollitem_t *items, struct link_event *e)
{
	char c;

	if (items[ITEM_SIGNAL].revents) {
		while (read(l->signal_fd, &c, 1) > 0)
			;
		*e = (struct link_event){ .type = LINK_SIGNAL };
		return true;
	}
	if (items[ITEM_STDIN].revents) {
		*e = (struct link_event){ .type = LINK_STDIN };
		return true;
	}
	if (items[ITEM_STDOUT].revents) {
		l->watch_stdout = false;
		*e = (struct link_event){ .type = LINK_STDOUT_CLOSED };
		return true;
	}
	return false;
}

int links_wait(struct links *l, int timeout, struct link_event *e)
{
	zmq_pollitem_t items[ITEM_PEERS + 2 * PEERS_MAX];
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
		r = zmq_poll(items, n, next >= 1e17 ? -1 : next > t ? (long)((next - t) * 1000) + 1 : 0);
		if (r < 0 && errno != EINTR)
			return fail("unable to wait for messages: %s", zmq_strerror(errno));
		if (r > 0 && plain_event(l, items, e))
			return 0;
		if (r <= 0 && now() >= deadline)
			return 0;
	}
}
