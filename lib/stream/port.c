#include "lib/stream/port.h"

#include <errno.h>
#include <zmq.h>

enum {
	HIGH_WATER = 1024,        /* messages; credit allows few, but ZeroMQ learns late which have left, and sends no more */
	CONNECT_TIMEOUT_MS = 5000,
	NEVER_MS = 1000000000,
};
#define FRAME_MAX (1LL << 32)

struct ports {
	void *context;
	int heartbeat_ms, monitors;
};

/* A received frame: the buffer's memory is the message's own. */
struct frame {
	struct buffer buffer;
	zmq_msg_t msg;
};

/* --- life cycle --- */

struct ports *ports_new(int heartbeat_ms)
{
	struct ports *all = xcalloc(1, sizeof(*all));

	all->context = zmq_ctx_new();
	if (!all->context)
		die(EXIT_FAIL, "unable to start ZeroMQ: %s", zmq_strerror(errno));
	all->heartbeat_ms = heartbeat_ms;
	return all;
}

void ports_free(struct ports *all)
{
	while (zmq_ctx_term(all->context) < 0 && errno == EINTR)
		;
	free(all);
}

static void close_socket(void **socket, int linger)
{
	if (*socket) {
		zmq_setsockopt(*socket, ZMQ_LINGER, &linger, sizeof(linger));
		zmq_close(*socket);
	}
	*socket = NULL;
}

void port_close(struct port *p, int linger)
{
	if (p->socket)
		zmq_socket_monitor(p->socket, NULL, 0);
	close_socket(&p->socket, linger);
	close_socket(&p->monitor, 0);
}

/* --- opening --- */

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

static void *monitor(struct ports *all, void *socket)
{
	char name[64];
	void *m;

	snprintf(name, sizeof(name), "inproc://monitor-%d", all->monitors++);
	if (zmq_socket_monitor(socket, name, ENDINGS | BEGINNINGS) < 0)
		return NULL;
	m = zmq_socket(all->context, ZMQ_PAIR);
	if (m && zmq_connect(m, name) < 0)
		close_socket(&m, 0);
	return m;
}

static int open_socket(struct port *p, struct ports *all, int type, const char *endpoint)
{
	void *s = p->socket = zmq_socket(all->context, type);
	int64_t frame_max = FRAME_MAX;

	if (!s)
		return fail("unable to open a socket: %s", zmq_strerror(errno));
	set_int(s, ZMQ_SNDHWM, HIGH_WATER);
	set_int(s, ZMQ_RCVHWM, HIGH_WATER);
	set_int(s, ZMQ_RECONNECT_IVL, NEVER_MS); /* -1 would drop messages that are received but not yet read */
	set_int(s, ZMQ_CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS);
	zmq_setsockopt(s, ZMQ_MAXMSGSIZE, &frame_max, sizeof(frame_max));
	/* a lost host is only seen by its silence; the other side need not ask for heartbeats itself */
	if (strncmp(endpoint, "tcp:", 4) == 0) {
		set_int(s, ZMQ_HEARTBEAT_IVL, MIN(all->heartbeat_ms / 4, 5000));
		set_int(s, ZMQ_HEARTBEAT_TIMEOUT, all->heartbeat_ms);
		set_int(s, ZMQ_HEARTBEAT_TTL, all->heartbeat_ms);
		set_int(s, ZMQ_IPV6, strchr(endpoint, '[') != NULL);
	}
	return 0;
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

int port_bind(struct port *p, struct ports *all, const char *where, char *endpoint, size_t size, char *curve)
{
	if (open_socket(p, all, ZMQ_ROUTER, where) < 0)
		return -1;
	set_int(p->socket, ZMQ_ROUTER_MANDATORY, 1);
	if (curve && secure_server(p->socket, curve) < 0)
		return -1;
	p->monitor = monitor(all, p->socket);
	if (!p->monitor || zmq_bind(p->socket, where) < 0 || zmq_getsockopt(p->socket, ZMQ_LAST_ENDPOINT, endpoint, &size) < 0) {
		bool misspelt = errno == EINVAL || errno == ENODEV;

		return fail_code(misspelt ? EXIT_USAGE : EXIT_FAIL, "unable to bind '%s': %s%s", where, zmq_strerror(errno),
				 misspelt ? ": write tcp://HOST:PORT, HOST an address of this host" : "");
	}
	return 0;
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

int port_connect(struct port *p, struct ports *all, const char *endpoint, const char *curve)
{
	if (open_socket(p, all, ZMQ_DEALER, endpoint) < 0)
		return -1;
	if (*curve && secure_client(p->socket, curve) < 0) {
		port_close(p, 0);
		return -1;
	}
	p->monitor = monitor(all, p->socket);
	if (!p->monitor || zmq_connect(p->socket, endpoint) < 0) {
		int error = errno;

		port_close(p, 0);
		return fail_code(EXIT_USAGE, "unable to connect to '%s': %s: a ticket names tcp://HOST:PORT or ipc://PATH",
				 endpoint, zmq_strerror(error));
	}
	return 0;
}

/* --- frames --- */

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

int port_send(struct port *p, void *data, size_t size, struct buffer *owner, bool more)
{
	zmq_msg_t msg;
	int r;

	message_of(&msg, data, size, owner);
	do
		r = zmq_msg_send(&msg, p->socket, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0));
	while (r < 0 && errno == EINTR);
	if (r < 0) {
		int error = errno;

		zmq_msg_close(&msg);
		errno = error;
	}
	return r < 0 ? -1 : 0;
}

const char *port_error(void)
{
	return zmq_strerror(errno);
}

static void release_frame(struct buffer *b)
{
	struct frame *f = (struct frame *)b;

	zmq_msg_close(&f->msg);
	free(f);
}

static struct buffer *receive(void *socket, bool *more)
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
		struct buffer *b = receive(socket, &more);

		if (!b)
			return;
		buffer_unref(b);
	}
}

struct buffer *port_receive(struct port *p, bool *more)
{
	return p->socket ? receive(p->socket, more) : NULL;
}

void port_drop(struct port *p, bool more)
{
	drop_rest(p->socket, more);
}

/* --- events --- */

static enum port_event event_of(uint16_t event)
{
	switch (event) {
	case ZMQ_EVENT_ACCEPTED: return PORT_ACCEPTED;
	case ZMQ_EVENT_CONNECTED: return PORT_CONNECTED;
	case ZMQ_EVENT_HANDSHAKE_SUCCEEDED: return PORT_GREETED;
	default: return event & ENDINGS ? PORT_ENDED : PORT_OTHER;
	}
}

bool port_event(struct port *p, enum port_event *event, int *fd)
{
	bool more = false;
	struct buffer *b = p->monitor ? receive(p->monitor, &more) : NULL;
	uint16_t number = 0;

	if (!b)
		return false;
	if (b->size >= 6) {
		memcpy(&number, b->data, 2);
		memcpy(fd, (const char *)b->data + 2, 4);
	}
	*event = event_of(number);
	buffer_unref(b);
	drop_rest(p->monitor, more);
	return true;
}

/* --- waiting --- */

void port_items(const struct port *p, struct port_item items[2])
{
	items[0] = (struct port_item){ .socket = p->socket, .fd = -1 };
	items[1] = (struct port_item){ .socket = p->monitor, .fd = -1 };
}

int ports_wait(struct port_item *items, int n, long timeout)
{
	zmq_pollitem_t polled[PORT_ITEMS];
	int r;

	for (int i = 0; i < n; i++) {
		const struct port_item *x = &items[i];
		short events = x->error ? ZMQ_POLLERR : ZMQ_POLLIN;

		polled[i] = (zmq_pollitem_t){ .socket = x->socket, .fd = x->fd, .events = x->socket || x->fd >= 0 ? events : 0 };
	}
	r = zmq_poll(polled, n, timeout);
	if (r < 0 && errno != EINTR)
		return fail("unable to wait for messages: %s", zmq_strerror(errno));
	for (int i = 0; i < n; i++)
		items[i].happened = r > 0 && polled[i].revents;
	return MAX(r, 0);
}
