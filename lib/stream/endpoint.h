/*
 * endpoint.h - where a server binds, and the address that its ticket gives to others
 *
 *	struct endpoint e;
 *	endpoint_choose(&e, "");                          e.bind: for zmq_bind()
 *	endpoint_publish(address);                        after it, what was bound: one address in place of all
 *	endpoint_release(&e);                             removes the socket's folder
 *
 * A unix socket stands in a folder of its own, mode 0700 and locked while its server lives: whoever comes later removes the
 * folders whose servers were killed.
 */
#ifndef STREAM_ENDPOINT_H
#define STREAM_ENDPOINT_H

#define ENDPOINT_MAX 256

struct endpoint {
	char bind[ENDPOINT_MAX];
	char folder[100];         /* of the unix socket, "": none */
	int lock;                 /* the open folder, -1: none */
};

/* where: "" for a unix socket in a fresh folder below XDG_RUNTIME_DIR, TMPDIR or /tmp, or, under ssh, for the address of this
 * host that the session came to; else tcp://HOST:PORT or ipc://PATH. -1 after fail(). */
int endpoint_choose(struct endpoint *e, const char *where);
/* Rewrites what was bound, if it stands for all addresses of this host, to one that other hosts reach. -1 after fail(): there is
 * none. */
int endpoint_publish(char endpoint[ENDPOINT_MAX]);
void endpoint_release(struct endpoint *e);

#endif
