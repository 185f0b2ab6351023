/*
 * link.h - records over ZeroMQ sockets, and everything else a stage waits for, behind one call
 *
 * A server binds one ROUTER and numbers its clients; a client opens one DEALER a ticket and numbers its peers. links_wait()
 * sleeps until something happens and returns one event at a time: a record, a peer or client that is gone without a word, text on
 * stdin, a reader that closed stdout, a signal, or the time-out. Tensor frames are neither copied when sent (the socket holds a
 * reference of the tensor's buffer until the bytes are out) nor when received.
 *
 * The caller is one thread; ZeroMQ's own I/O thread moves the bytes.
 *
 *	struct links *l = links_new(60);
 *	int peer = links_connect(l, "ipc:///run/x/s", "");
 *	links_send(l, peer, record);                          record's tensors stay the caller's
 *	while (links_wait(l, -1, &e) == 0 && e.type != LINK_RECORD) ...
 */
#ifndef STREAM_LINK_H
#define STREAM_LINK_H

#include "lib/stream/record.h"

enum link_event_type {
	LINK_TIMEOUT,
	LINK_RECORD,           /* from peer (client side) or client (server side); record is the caller's to free */
	LINK_REFUSED,          /* an unreadable message came from it; why() tells */
	LINK_BROKEN,           /* a peer's link is down and everything it sent has been delivered */
	LINK_CLIENTS_GONE,     /* server: no connection is left although somebody had connected */
	LINK_STDIN,            /* stdin is readable or at its end */
	LINK_STDOUT_CLOSED,    /* whoever read our stdout has gone; reported once */
	LINK_SIGNAL,           /* a signal arrived; reported once a signal */
};

enum { CLIENTS_MAX = 256 };

struct link_event {
	enum link_event_type type;
	bool from_client;      /* source is a client number (server side), else a peer number */
	bool fresh;            /* the first record of a client: its number may have been another's; CLIENTS_MAX: all are taken */
	int source;
	struct record *record;
};

/* How far the last try to reach a server came: not at all, to an open port, to a socket that took the handshake. */
enum link_reach { LINK_NOWHERE, LINK_REACHED, LINK_GREETED };

struct links;
/* patience: a tcp neighbour that is silent for so many seconds (5 to 60) is taken for dead: a lost host or cable shows in
 * nothing else. */
struct links *links_new(double patience);
/* Sends what is queued for at most linger milliseconds, closes everything, removes the socket file. */
void links_free(struct links *l, int linger);

/* Binds the server side: "" picks a unix socket in a fresh 0700 folder, or under ssh a tcp port of this host; otherwise
 * tcp://HOST:PORT (HOST and PORT may be *) or ipc://PATH. tcp is encrypted with a fresh CURVE key unless insecure.
 * endpoint: what a client has to connect to (256 bytes); curve: the public key or "" (41 bytes). */
int links_bind(struct links *l, const char *where, bool insecure, char *endpoint, char *curve);
/* Opens a link to a server: its number, or -1 after fail(). A number is used again once disconnected. */
int links_connect(struct links *l, const char *endpoint, const char *curve);
void links_disconnect(struct links *l, int peer);
enum link_reach links_reach(const struct links *l, int peer);

/* 0, or -1 when the other side is gone or takes nothing more (its event follows or has been seen) or the header is too large. */
int links_send(struct links *l, int peer, const struct record *r);
int links_send_client(struct links *l, int client, const struct record *r);
/* The client has gone: its number may become another's when all others are taken. */
void links_release_client(struct links *l, int client);

void links_watch_stdin(struct links *l, bool on);
void links_watch_stdout(struct links *l, bool on);   /* only when it is a pipe */
void links_watch_signals(struct links *l, int fd);   /* read end of the pipe that the signal handler writes to */

/* Waits at most timeout milliseconds (-1: for ever). 0, or -1 after fail(). */
int links_wait(struct links *l, int timeout, struct link_event *e);

#endif
