/* encode.h - what the files of encode share */
#ifndef CMD_ENCODE_H
#define CMD_ENCODE_H

#include "lib/nn/train/trainer.h"
#include "lib/stream/stage.h"
#include "lib/tensor/names.h"

enum { DIM_MOST = 65536, VIEW_MOST = 8192 };

struct options {
	struct stage_options stage;
	struct choice arch, optim, schedule, format;
	struct option_list predictors;          /* predictor: all of them, a blank between; NULL: not given */
	const char *head, *predictor, *ema, *weights, *as, *out, *backend, *precision, *export;
	struct option_list freeze, rates;
	bool ema_buffers, small, frozen, train_bn, eval, calibrate, fresh, profile;
	int64_t dim, bn_splits, microbatch, save_every, until, size;
	double bn_momentum, clip, dropout, drop_path;
};

/* The two lives of encode in a line; 0 or -1 after fail(). */
int train(struct stage *s, const struct options *o);
int serve(struct stage *s, const struct options *o);
/* A life without neighbours: writes what -w holds to a file for other runtimes. */
int export(const struct options *o);

/* Fills the network's description from options and the upstream schema; with -w from the file's metadata where an option is not
 * given. file: the opened weights or NULL. */
int configure(struct net_config *c, const struct options *o, const struct record *schema, const struct tensors *file);

/* What a file says of the run that made it, under its name alone (a model) or as a fact (a checkpoint); NULL when nothing. */
const char *fact_of(const struct tensors *file, const char *name);

/* Passes on how the first stage was told its classes and hold-out: no facts, but a model says it to augment --like. */
void copy_origin(struct record *to, const struct record *from);

/* --- frozen.c: a network that is not trained --- */

struct frozen {
	struct net *net;
	float *params, *buffers;
	bool by_batch;              /* batch norm goes by the statistics of the batch */
	char names[OUTPUTS][TENSOR_NAME];   /* what its outputs are called, before a view's number; empty: it has none to give */
};

/* With the weights of -w, or at random initialisation, which is said. 0 or -1 after fail(); to be released either way. */
int frozen_load(struct frozen *w, const struct options *o, const struct record *schema);
void frozen_release(struct frozen *w);
/* Views through the network, at most so many at a time, to outputs that are not NULL, (rows, width) each. Rows do not depend on
 * each other; by batch they do on those that go with them, and are cut evenly. */
void frozen_run(const struct frozen *w, struct pass *pass, const struct tensor *views, int most, float *const outputs[OUTPUTS]);
/* Takes the running statistics from the training images of an evaluation, as many at a time as a batch has rows, each group
 * weighing the same (a last short one would weigh too much): what a network at random initialisation, or one that was trained for
 * a short time, needs before its features mean anything. pass: of batch rows. */
int calibrate(struct stage *s, struct frozen *w, struct pass *pass, int batch);

/* Share of the running statistics that is not of the training images, as a file of weights says it; 0 when it does not. Beyond
 * this evaluation without --calibrate is far off. */
double unsettled(const struct tensors *file);
#define UNSETTLED 0.1

/* Refuses facts and offers that no stage could mean: every view u8 [batch,h,w,3], counts of at least one. */
int check_schema(const struct record *schema);
/* Height and width of each view, of a schema that was checked. */
void view_sizes(const struct record *schema, int sizes[TRAINER_VIEWS][2]);

/* Adds to the offers of a schema: a name of our own, and those of the stage in front. 0, or -1 after fail(): they do not fit. */
int offer_own(struct record *schema, const char *prefix, int view, int rows, int width);
int offer_others(struct record *schema, const struct record *up);

/* Whether name is prefix followed by a view number below views (stored in *view). */
bool view_name(const char *name, const char *prefix, int views, int *view);
/* Fails with what would make a name that nobody gives. */
int refuse_name(const char *name);

/* --- rundir.c, resume.c: the folder of a run --- */

#define RUNDIR_CHECKPOINT "checkpoint.safetensors"
#define RUNDIR_PREVIOUS "checkpoint.previous.safetensors"

struct rundir {
	const char *dir;            /* NULL: nothing is saved */
	int lock;
	int64_t step;               /* steps done: the next one's number */
	int64_t saved;              /* steps done in the checkpoint, 0: there is none */
	bool whole;                 /* the checkpoint is this run's and good: the next one keeps it as the previous one */
	bool fresh;                 /* what lies in the folder is another run's */
	int64_t limit;              /* a checkpoint beyond this step is not gone on from; -1: none is */
	struct record *facts;       /* all facts of the run, of every stage */
	struct record *loss;        /* those of the checkpoint that the loss has to name again */
	struct record *state;       /* the loss's saved state, empty for a new run */
	struct record *brings;      /* names of its tensors in the last save */
	char *lineage;              /* a line a stage; the loss's, which comes later, stands behind so many bytes */
	size_t front;
	struct tensor *tensors;
	float *staging;
};

/* Locks the folder (made when missing) and reads its checkpoint into t, unless fresh. facts: of this line; those of the
 * checkpoint must be the same. A damaged checkpoint is named, and the one before it taken; so is one beyond the step limit (-1:
 * there is none), where another trained stage of the line was killed before it saved, too: at 0 the run starts over. */
int rundir_open(struct rundir *u, const char *dir, bool fresh, int64_t limit, struct trainer *t, const struct record *facts,
		const char *lineage);
/* The open of a stage that connects later (the loss): refused when it has other facts than the checkpoint, or lacks some. */
int rundir_check(struct rundir *u, const struct record *open);
/* Refuses a gradient to be saved that lacks state which the last save had. */
int rundir_expect(const struct rundir *u, const struct record *grad);
/* Writes checkpoint.safetensors, the one before it becoming checkpoint.previous.safetensors, then model.safetensors. grad: brings
 * the loss's state. */
int rundir_save(struct rundir *u, struct trainer *t, const struct record *grad);
/* Puts the previous checkpoint in the place of one that turned out to be of no use; whether there was one. */
bool rundir_step_back(struct rundir *u);
/* Fails: the run is at one step, another trained stage of the line at another. -1. */
int rundir_refuse_step(const struct rundir *u, int64_t step, int64_t other);
void rundir_close(struct rundir *u);

/* The pieces of rundir_open(). A path is freed by the caller; 1 when a checkpoint was read, 0 when there is none, -1. */
char *rundir_path(const struct rundir *u, const char *file);
/* Ends the lineage with the loss's command, up to the end of its line. */
void rundir_command(struct rundir *u, const char *command);
int rundir_resume(struct rundir *u, struct trainer *t);

#endif
