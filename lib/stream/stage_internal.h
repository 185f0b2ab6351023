/* stage_internal.h - the state that stage.c, upstream.c, wants.c, downstream.c and answers.c share; nobody else includes it */
#ifndef STREAM_STAGE_INTERNAL_H
#define STREAM_STAGE_INTERNAL_H

#include "lib/stream/link.h"
#include "lib/stream/stage.h"
#include "lib/stream/ticket.h"

enum { SERVERS_MAX = 64, WANTS_MAX = 64, INBOX_MAX = 256, CREDIT = 2, KEPT_MAX = 256 };

enum server_state { SERVER_CONNECTING, SERVER_READY, SERVER_DEAD, SERVER_CLOSED };

struct server {
	struct ticket ticket;
	enum server_state state;
	int peer;                 /* number of its link while not dead */
	int open_wants;
	double dialled_at, retry_at;
	bool served;              /* has sent a schema once */
	enum link_reach reach;    /* how far the last try came */
};

struct want {
	int64_t step;
	int part, parts;
	int server;               /* -1: not asked yet */
	int64_t turn;             /* of all wants sent, which it was */
	struct record *request, *answer;
};

enum client_state { CLIENT_UNKNOWN, CLIENT_OPEN, CLIENT_DONE };

struct client_of_stage {
	enum client_state state;
	char role[32];
	bool asked, strayed;      /* has wanted something; is not waited for by the others (answers.c) */
	int64_t position;         /* the step it was answered last */
};

/* Answers that other clients will ask for, too (answers.c). */
struct answers {
	struct record *kept[KEPT_MAX]; /* oldest first: step, part, parts and tensors */
	int count;
	int64_t bytes, step_bytes; /* kept in all; of a whole step */
	int64_t sent, recalled;    /* tensors */
};

struct stage {
	char name[32];
	char command[4096];
	struct links *links;
	double patience;
	/* the line's fate */
	int signal_seen;          /* a signal at another stage, told by its records */
	double signal_at;         /* when a signal of our own was first seen; 0: none was */
	bool hinted;              /* that a second one ends at once */
	bool passed;              /* the failure is a neighbour's and has been said */
	int end_code;
	/* upstream */
	struct server servers[SERVERS_MAX];
	int server_count;
	bool stdin_open, ended, connected;
	char line[TICKET_MAX];    /* the beginning of the next ticket */
	int line_used;
	double alone_since;       /* since when no server is ready; 0: one is */
	struct record *schema, *open;
	struct want wants[WANTS_MAX];
	int want_head, want_count;
	int64_t turns;            /* wants sent */
	/* downstream */
	struct stage_options options;
	bool serving, trained, ticket_out, stdout_pipe, stdout_closed, had_client, asked;
	struct client_of_stage clients[CLIENTS_MAX + 1]; /* the last one is refused: there are too many */
	int open_clients;
	bool vanished;            /* the last client went without a goodbye */
	char vanished_role[32];
	double clientless_since;
	struct request inbox[INBOX_MAX];
	int inbox_head, inbox_count;
	struct answers answers;
	struct record *answered;  /* request record to free at the next stage_next */
};

/* Waits for one event, at most timeout milliseconds, and attends to it. 0, or -1 when the line must end. */
int stage_pump(struct stage *s, int timeout);
/* Ends the line with a code but without a word: somebody else has spoken. Returns -1. */
int stage_pass(struct stage *s, int code, const char *sentence);
/* As fail_code(EXIT_GONE); without a word when silent, or when a signal explains the neighbour's end. */
int stage_gone(struct stage *s, bool silent, const char *sentence);

/* Whether so many seconds have passed since a signal of our own; *timeout as in upstream_tend(). */
bool stage_overdue(struct stage *s, double seconds, int *timeout);

int upstream_record(struct stage *s, int peer, struct record *r);
const char *upstream_name(struct stage *s, int peer);
/* The neighbour has said its last word: it is not answered. */
void upstream_silence(struct stage *s, int peer);
void downstream_silence(struct stage *s, int client);

/* Servers that are connected or about to be. */
int upstream_live(const struct stage *s);
/* Waits while the caller lacks something from upstream. 0, or -1. */
int upstream_wait(struct stage *s);
void upstream_broken(struct stage *s, int peer);
int upstream_stdin(struct stage *s);
/* Reconnects, gives up: called before every wait. *timeout: when it wants to be called again, in milliseconds (-1: never). */
int upstream_tend(struct stage *s, int *timeout);
void upstream_farewell(struct stage *s, const struct record *word);

/* Sends what waits for a server to those that have room. */
void wants_assign(struct stage *s);
/* A server is gone: what it has not answered goes to another. */
void wants_return(struct stage *s, const struct server *v);
/* Takes over a batch. 0, or -1 after fail(): it is not what the server was asked for. */
int wants_answer(struct stage *s, struct server *v, struct record *r);

int downstream_record(struct stage *s, int client, struct record *r);
const char *downstream_name(const struct stage *s, int client);
/* A client number belongs to somebody new. */
void downstream_meet(struct stage *s, int client);
/* After fail(): says it and tells the client, 0; -1 when nobody else is served, then stage_finish() does both. */
int downstream_refuse(struct stage *s, int client);
/* Before a last word: gives the reader of our ticket, who is about to connect, the time to do so. */
void downstream_await(struct stage *s);
void downstream_gone(struct stage *s);
/* Whether the downstream side is over: 0 no, 1 all said goodbye, -1 lost. *timeout as above. */
int downstream_tend(struct stage *s, int *timeout);
void downstream_farewell(struct stage *s, const struct record *word);
void downstream_fault_ticket(int code, const char *sentence);

/* A want has come from a client. */
void answers_asked(struct stage *s, int client, int64_t step);
/* Whether a request may be answered now; *timeout: when to look again at the latest, in milliseconds. */
bool answers_due(struct stage *s, struct request *q, int *timeout);
/* A client is being given this answer: its tensors are kept for the others. */
void answers_keep(struct stage *s, int client, const struct record *answer);
/* Drops them all; with -v says how many tensors were sent, and how many of them recalled. */
void answers_release(struct answers *a);

#endif
