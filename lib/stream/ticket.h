/*
 * ticket.h - the one line a stage writes on its stdout: where it serves, or why it does not
 *
 *	sprat1 <stage> <endpoint> [curve=<server public key>] [part=i/n]
 *	sprat1 fault <code> <sentence>
 *
 * Unknown words after the endpoint are refused: a later version that needs them says sprat2.
 */
#ifndef STREAM_TICKET_H
#define STREAM_TICKET_H

#include "lib/base/base.h"

#define TICKET_MAX 512

struct ticket {
	char stage[32];        /* "augment", "encode"; empty for a fault */
	char endpoint[256];
	char curve[41];        /* Z85 public key of the server; empty: no encryption */
	int part, parts;       /* 0 of 1 unless the server serves one part of each step */
	int code;              /* of a fault */
	char sentence[400];
};

/* The line with its newline into dst; always shorter than TICKET_MAX. */
void ticket_print(const struct ticket *t, char dst[TICKET_MAX]);
/* Parses one line without its newline. -1 after fail() with EXIT_USAGE. */
int ticket_parse(struct ticket *t, const char *line);

#endif
