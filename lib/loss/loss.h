/*
 * loss.h - losses: a table of rows, and the objective, one of them at work on the batches of a run
 *
 * A loss is handed tensors by name (embeddings f32 (rows, dim), not normalised: it normalises itself; labels i32 (rows),
 * shares f32 (rows); names.h says which name is what) and gives its value, a few scalars and the gradient for every input that is
 * trained (names.h): of the network's outputs, not of keys and teachers. What it must remember from step to step (a queue, say)
 * is a list of named tensors, "loss.NAME", which can be taken out and put back whole: an objective that was given another's state
 * goes on exactly as that one would. Before the first step the state is a function of seed, shapes and parameters alone.
 *
 *	struct choice c;
 *	struct objective *o;
 *	choice_parse(&c, &loss_table, "moco:t=0.1,k=4096");
 *	o = objective_new(&c, given, count, seed, images);      given: what upstream offers; NULL after fail()
 *	objective_step(o, step, batch, count);                  batch holds q0 and k1, f32[256,128] each
 *	... objective_scalar(o, "loss"), o->inputs[0].gradient ("d:q0"), o->state[0] ("loss.queue")
 *	objective_free(o);
 *
 * To add a loss: write NAME.c with its functions, declare them below, add a row to losses[] in loss.c, and its transcription in
 * PyTorch to tests/parity/losses_torch.py. Help, gradient tests and state tests read the table.
 */
#ifndef LOSS_LOSS_H
#define LOSS_LOSS_H

#include "lib/base/options.h"
#include "lib/tensor/tensor.h"

enum { LOSS_INPUTS = 32, LOSS_STATES = 12, LOSS_SCALARS = 16, LOSS_NAME = 16 };

struct objective;

struct loss {
	struct entry entry;
	const char *needs;             /* names of its inputs, a blank between; their order is that of objective.inputs */
	const char *(*choose)(const struct choice *c);   /* the same where parameters decide; NULL: they do not */
	/* Checks parameters against the shapes, adds state (objective_add_state, filled), takes room for the work. 0, or -1. */
	int (*prepare)(struct objective *o);
	/* Whether a state that was put back can be gone on with. NULL: any. 0, or -1. */
	int (*accept)(const struct objective *o);
	/* Value of a network that knows nothing, against a queue of such keys. */
	double (*expected)(const struct objective *o);
	/* Reads inputs, fills gradients and scalars ("loss" first), then moves the state on. Gradients are zeros when it begins.
	 * 0, or -1. */
	int (*evaluate)(struct objective *o);
	void (*release)(struct objective *o);   /* NULL: room is one piece of memory, or none */
};

extern const struct table loss_table;

/* Names the choice needs, into names; returns how many. */
int loss_needs(const struct choice *c, char names[LOSS_INPUTS][LOSS_NAME]);

struct loss_input {
	struct tensor value;           /* f32 (rows, dim), i32 or f32 (rows); borrowed from the batch of the step */
	struct tensor gradient;        /* "d:NAME", same shape, owned; name empty: not trained */
};

struct loss_scalar {
	const char *name;
	double value;
};

struct objective {
	const struct loss *loss;
	struct choice choice;
	uint64_t seed;
	int rows;                      /* of a batch */
	int64_t step;                  /* in hand, for messages */
	int64_t epoch;                 /* of the step, from 0; the caller's to set before it, */
	double lr;                     /* as is the learning rate, for losses that have something to train */
	int64_t images;                /* of the data set; 0: nobody says */
	struct loss_input inputs[LOSS_INPUTS];
	int input_count;
	struct tensor state[LOSS_STATES];
	int state_count;
	struct loss_scalar scalars[LOSS_SCALARS];   /* of the last step: "loss", the loss's own, "std" */
	int scalar_count;
	float *unit, *norm;            /* room for the feature std of the first input */
	void *room;                    /* the loss's own */
};

/* given: names, types and shapes that upstream offers. Fails with EXIT_USAGE when the loss cannot work on them. Threads are those
 * set before. */
struct objective *objective_new(const struct choice *c, const struct tensor *given, int count, uint64_t seed, int64_t images);
void objective_free(struct objective *o);

/*
 * One step on the tensors of a batch, found by name. step is for messages. Fails on a missing tensor, another shape, or a value
 * that is not finite in an input, the loss or a gradient; the objective is of no use after that. Gradients and state are good
 * until the next step, or for as long as a reference is held (a tensor still referenced is replaced, not overwritten).
 */
int objective_step(struct objective *o, int64_t step, const struct tensor *batch, int count);
/* NAN when the loss has no such scalar. */
double objective_scalar(const struct objective *o, const char *name);
double objective_expected(const struct objective *o);
/* Puts back a whole state, found by name among tensors (others are passed over). None at all, with count 0, is a fresh start. */
int objective_restore(struct objective *o, const struct tensor *tensors, int count);

/* For the losses: */
struct tensor *objective_add_state(struct objective *o, const char *name, enum dtype d, int rank, const int64_t *shape);
void objective_set(struct objective *o, const char *scalar, double value);

/* Checks that all inputs that are embeddings have the first one's width. 0, or -1. */
int objective_same_width(const struct objective *o);
/* Which of words (a blank between) a text parameter is; -1 after fail() with EXIT_USAGE. */
int objective_word(const struct objective *o, const char *key, const char *words);

/* What the file of each gives to its row of losses[] in loss.c; the last three if it has a use for them. */
#define LOSS_FUNCTIONS(name)                               \
	extern const struct param name##_params[];         \
	int name##_prepare(struct objective *o);           \
	double name##_expected(const struct objective *o); \
	int name##_evaluate(struct objective *o);          \
	const char *name##_choose(const struct choice *c); \
	int name##_accept(const struct objective *o);      \
	void name##_release(struct objective *o)

LOSS_FUNCTIONS(moco);
LOSS_FUNCTIONS(simclr);
LOSS_FUNCTIONS(supcon);
LOSS_FUNCTIONS(simsiam);
LOSS_FUNCTIONS(byol);
LOSS_FUNCTIONS(ce);
LOSS_FUNCTIONS(seed);
LOSS_FUNCTIONS(compress);
LOSS_FUNCTIONS(simreg);
LOSS_FUNCTIONS(disco);
LOSS_FUNCTIONS(bingo);
LOSS_FUNCTIONS(simdis);
LOSS_FUNCTIONS(directpred);
LOSS_FUNCTIONS(crd);
LOSS_FUNCTIONS(kd);
LOSS_FUNCTIONS(rkd);
LOSS_FUNCTIONS(barlow);

#endif
