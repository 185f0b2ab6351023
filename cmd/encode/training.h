/* training.h - the state of a training run, and one step of it: train.c keeps the run, feed.c asks, step.c computes */
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

struct training {
	struct stage *s;
	const struct options *o;
	struct trainer t;
	struct rundir run;
	struct record *schema;
	int view_count, batch, parts;           /* parts: of a step, with BN statistics of their own */
	int64_t steps_per_epoch, end, save_every;
	int64_t first;                          /* step of this line */
	int64_t incarnation;
	int stop;                               /* number of the signal that this step is the last one for, 0 */

	/* what the loss wants: fixed by its first want */
	struct record *wanted, *names[USES];    /* names: asked for upstream, by use */
	struct ask *asks;
	int ask_count;
	bool trains[TRAINER_VIEWS], features[TRAINER_VIEWS], keys[TRAINER_VIEWS];   /* whose q, feature, k it gets */

	/* the steepest gradient that the loss has sent of late: who is to blame, should the weights go astray */
	float steepest;
	int64_t steepest_step;

	/* the step in hand */
	int64_t asked, taken;                   /* asks of all steps: number n is asks[n % ask_count] of step n / ask_count */
	struct record *held;                    /* the answer to the last ask taken, rows from held_row on */
	int held_row;
	struct record *answer;                  /* what the loss gets: the whole step */
	uint8_t *gathered[TRAINER_VIEWS];       /* views of a key group */
};

/* --- step.c --- */

/* Carries out one want of the loss, from asking for views to the checkpoint. */
int train_step(struct training *r, const struct request *q);
void step_release(struct training *r);

/* --- feed.c --- */

/* Settles from the loss's first want what is asked for upstream; a name that nobody gives fails. */
int feed_init(struct training *r, const struct record *want);
/* Brings the next rows for one use of a part: 1 when they came into r->held, 0 when the step is there already, -1. */
int feed_part(struct training *r, enum use use, int part);
/* Rows of a view, from row on (counted through the step), of those held. */
const uint8_t *feed_rows(const struct training *r, int view, int row);
void feed_release(struct training *r);

#endif
