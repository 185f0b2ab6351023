/*
 * port.h - a ZeroMQ socket and the monitor that tells when its connections begin and end; port.c alone knows ZeroMQ
 *
 * Nothing here waits but ports_wait(). A frame that is sent is not copied (the socket holds a reference of its buffer until the
 * bytes are out), nor is one that is received.
 *
 *	struct ports *all = ports_new(30000);
 *	struct port p = PORT_INIT;
 *	if (port_connect(&p, all, "ipc:///run/x/s", "") < 0)
 *		return -1;
 *	port_send(&p, data, size, owner, false);
 *	while ((frame = port_receive(&p, &more)) != NULL) ...      NULL: none is waiting
 *	port_close(&p, 3000);
 *	ports_free(all);
 */
#ifndef STREAM_PORT_H
#define STREAM_PORT_H

#include "lib/tensor/tensor.h"

/* What all sockets of a program have in common. */
struct ports;
/* heartbeat_ms: a silence after which a tcp connection counts as lost. */
struct ports *ports_new(int heartbeat_ms);
/* Every port must be closed. */
void ports_free(struct ports *all);

struct port {
	void *socket, *monitor;   /* NULL: closed */
};
#define PORT_INIT { NULL, NULL }

/* Opens the server side (a ROUTER: the first frame of every message says whose it is) at an address for zmq_bind(). endpoint:
 * where a client finds it (size bytes); curve: NULL: unencrypted, else 41 bytes for its public key. 0, or -1 after fail(). */
int port_bind(struct port *p, struct ports *all, const char *where, char *endpoint, size_t size, char *curve);
/* Opens a client's side (a DEALER); curve: the server's key, "" where it has none. 0, or -1 after fail(): then it is closed. */
int port_connect(struct port *p, struct ports *all, const char *endpoint, const char *curve);
/* What is queued has so many milliseconds to leave. */
void port_close(struct port *p, int linger);

/* A frame of a message, the last one unless more follow; owner: of its memory, NULL: to be copied. 0, or -1 with errno set, which
 * port_error() puts in words: EAGAIN where the other side takes nothing more. */
int port_send(struct port *p, void *data, size_t size, struct buffer *owner, bool more);
const char *port_error(void);
/* One frame; NULL when none is waiting. */
struct buffer *port_receive(struct port *p, bool *more);
/* Receives what more frames a message has, for nobody. */
void port_drop(struct port *p, bool more);

/* What the monitor tells; false when nothing is waiting. fd: of the connection. */
enum port_event { PORT_OTHER, PORT_ACCEPTED, PORT_CONNECTED, PORT_GREETED, PORT_ENDED };
bool port_event(struct port *p, enum port_event *event, int *fd);

/* A socket, a monitor (what port_items() fills in) or a file to be waited for. */
struct port_item {
	void *socket;             /* NULL: fd */
	int fd;                   /* -1: nothing */
	bool error;               /* wait for an error, not for something to read */
	bool happened;
};
enum { PORT_ITEMS = 600 };
/* Two items, for messages and for events. */
void port_items(const struct port *p, struct port_item items[2]);
/* Waits for any of at most PORT_ITEMS, at most so many milliseconds (-1: for ever). How many happened, 0 also when a signal came,
 * or -1 after fail(). */
int ports_wait(struct port_item *items, int n, long timeout);

#endif
