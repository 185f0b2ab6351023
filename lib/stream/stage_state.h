/*
 * stage_state.h - the state of a stage, for the files that make one: fate, answers, wants, join, schema, upstream, downstream,
 * pump, life
 */
#ifndef STREAM_STAGE_STATE_H
#define STREAM_STAGE_STATE_H

#include "lib/stream/link.h"
#include "lib/stream/stage.h"
#include "lib/stream/ticket.h"

enum { SERVERS_MAX = 64, WANTS_MAX = 4 * SERVERS_MAX, INBOX_MAX = 256, CREDIT = 2, KEPT_MAX = 256 };

enum server_state { SERVER_CONNECTING, SERVER_READY, SERVER_DEAD, SERVER_CLOSED, SERVER_ENDED };

struct server {
	struct ticket ticket;
	enum server_state state;
	int peer;                 /* number of its link while not dead */
	int open_wants;
	double dialled_at, retry_at;
	bool served;              /* has sent a schema once */
	int64_t incarnation;      /* of its schema */
	enum link_reach reach;    /* how far the last try came */
};

/* What one server is asked for: all that the stage wants, or a share of it (join.h). */
struct want {
	int64_t step;
	int part, parts;
	int asked_part, asked_parts; /* what the stage wants */
	bool last;                /* share of it */
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
	bool stdin_open, ended;
	bool connected;           /* every server that is needed has been there */
	char line[TICKET_MAX];    /* the beginning of the next ticket */
	int line_used;
	double alone_since;       /* since when no server of some part is ready; 0: all are */
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

#endif
