/* training.h - a training run, and one step of it: train.c keeps the run, demand.c knows what is asked for, feed.c brings rows,
 * gradients.c takes what comes back, step.c computes */
#ifndef CMD_ENCODE_TRAINING_H
#define CMD_ENCODE_TRAINING_H

#include "cmd/encode/encode.h"

/* What a step's tensors are asked for upstream for. A whole step is asked for once, for everything. */
enum use { FOR_QUERIES, FOR_KEYS, FOR_GRADIENTS, USES };

/* One want. A step makes the same ones in the same order, every time, and their answers come in that order. */
struct ask {
	enum use use;
	int part, parts;
};

/* One of our own outputs that the loss wants. */
struct wish {
	char text[TENSOR_NAME];
	int view, width;
	enum output output;
	bool by_key;                            /* of the key encoder */
	bool trained, must;                     /* a gradient may, must come back for it */
	float *rows;                            /* of the step in hand, in the answer: (batch, width) */
};

/* Rows of a part, or of a key cell, counted through the step. */
struct span {
	int first, count;
};

/* What the loss wants: fixed by its first want. */
struct demand {
	struct record *wanted, *names[USES];    /* names: asked for upstream, by use */
	struct wish wishes[RECORD_NAMES];
	int count;
	bool queries[TRAINER_VIEWS], keys[TRAINER_VIEWS];   /* which views go through the network, the key encoder */
	bool has_keys;
	struct span *parts, *cells;             /* of queries; of keys: those of group g are from g * cell_count on */
	int cell_count;
	struct ask *asks;
	int ask_count;
};

/* Rows from upstream. */
struct feed {
	int64_t asked, taken;                   /* asks of all steps: number n is asks[n % ask_count] of step n / ask_count */
	int64_t last;                           /* step that may be asked for: a trained stage's is one behind its gradient */
	struct record *held;                    /* the answer to the last ask taken, rows from held_row on */
	int held_row;
	uint8_t *gathered[TRAINER_VIEWS];       /* views of a key group */
};

/* The steepest gradient that the loss has sent of late: who is to blame, should the weights go astray. */
struct suspicion {
	float steepest;
	int64_t step;
};

struct training {
	struct stage *s;
	const struct options *o;
	struct trainer t;
	struct rundir run;
	struct record *schema;
	int view_count, batch, parts;           /* parts: of a step, with BN statistics of their own */
	int64_t steps_per_epoch, end, save_every;
	int64_t first;                          /* step of this line */
	bool led;                               /* the stage behind is trained, too: it says when to save, and when to end */
	bool leads;                             /* the one in front is */
	struct record *open;                    /* what the stage behind said of itself */
	struct request want;                    /* its first one, taken already; record NULL: none is */
	int64_t incarnation;
	int stop;                               /* number of the signal that this step is the last one for, 0 */
	struct demand demand;
	struct feed feed;
	struct record *answer;                  /* what the loss gets: the whole step */
	struct suspicion suspicion;
};

/* --- step.c --- */

/* One step as the loss sees it, from its want to the checkpoint. 1, 0 when the loss has ended, -1. */
int train_step(struct training *r);
void step_release(struct training *r);

/* --- gradients.c --- */

/* What the loss sent, by view and output, as it lies in its record; any: for the view. */
struct gradients {
	const struct tensor *d[TRAINER_VIEWS][OUTPUTS];
	bool any[TRAINER_VIEWS];
};

/* Whether it is this step's record; and everything in it. 0, or -1 after fail(). */
int gradients_check(const struct training *r, const struct record *grad, int64_t step);
int gradients_find(struct training *r, const struct record *grad, int64_t step, struct gradients *g);
/* Sends the trained stage in front what is meant for it, and whether to save this step, and whether it is the last one. */
void gradients_pass(const struct training *r, const struct record *grad, int64_t step, bool save);
/* Adds to the sentence of a failure who led there: a loss whose gradients no network can follow, or the rate. -1. */
int gradients_blame(const struct training *r);

/* --- demand.c --- */

/* One of our outputs, or the keys, and what it is called before a view's number. */
struct own {
	enum name_kind name;                    /* whose it is like in names.h; --as may call it otherwise */
	enum output output;
	char prefix[TENSOR_NAME];
	int view;
};
/* All that we have; how many, or -1 after fail(). */
int own_list(const struct training *r, struct own list[OUTPUTS + 1]);

/* Settles from the loss's first want what is asked for upstream; a name that nobody gives fails. */
int demand_init(struct training *r, const struct record *want);
void demand_release(struct demand *d);

/* --- feed.c --- */

void feed_init(struct training *r);
/* Brings the next rows for one use of a part: 1 when they came into feed.held, 0 when the step is there already, -1. */
int feed_part(struct training *r, enum use use, int part);
/* Waits for a trained stage in front to have saved the last step, too. 0, or -1. */
int feed_end(struct training *r);
/* A trained stage in front may be asked for steps up to this one. */
void feed_allow(struct training *r, int64_t step);
/* Rows of a view, from row on (counted through the step), of those held. */
const uint8_t *feed_rows(const struct training *r, int view, int row);
/* Brings a key group's rows together: how many, or -1; then those of a view. */
int feed_group(struct training *r, int group);
const uint8_t *feed_gathered(const struct training *r, int view, int group);
void feed_release(struct feed *f);

#endif
