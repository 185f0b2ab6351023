/* encode.h - what the files of encode share */
#ifndef CMD_ENCODE_H
#define CMD_ENCODE_H

#include "lib/nn/trainer.h"
#include "lib/stream/stage.h"

enum { DIM_MOST = 65536 };

struct options {
	struct stage_options stage;
	struct choice arch, optim, schedule;
	const char *head, *weights, *as, *out, *backend, *precision;
	bool small, frozen, eval, calibrate, fresh, profile;
	int64_t dim, bn_splits, microbatch, save_every, until;
	double ema, bn_momentum, clip, dropout, drop_path;
};

/* The two lives of encode; 0 or -1 after fail(). */
int train(struct stage *s, const struct options *o);
int serve(struct stage *s, const struct options *o);

/* Fills the network's description from options and the upstream schema; with -w from the file's metadata where an option is not
 * given. file: the opened weights or NULL. */
int configure(struct net_config *c, const struct options *o, const struct record *schema, const struct tensors *file);

/* Passes on how the first stage was told its classes and hold-out: no facts, but a model says it to augment --like. */
void copy_origin(struct record *to, const struct record *from);

/* --- frozen.c: a network that is not trained --- */

struct frozen {
	struct net *net;
	float *params, *buffers;
	const char *head;           /* what the head's output is called: "q" or --as; NULL where there is no head */
};

/* With the weights of -w, or at random initialisation, which is said. 0 or -1 after fail(); to be released either way. */
int frozen_load(struct frozen *w, const struct options *o, const struct record *schema);
void frozen_release(struct frozen *w);

/* Whether there is a q to give at all. */
bool has_head(const struct net_config *c);

/* Refuses facts and offers that no stage could mean: every view u8 [batch,h,w,3] of one size, counts of at least one. */
int check_schema(const struct record *schema);

/* Whether name is prefix followed by a view number below views (stored in *view). */
bool view_name(const char *name, const char *prefix, int views, int *view);
/* Answers with a fault that says which option would make a name that nobody gives. */
int refuse_name(const char *name);

/* --- run.c: the folder of a run --- */

struct run {
	const char *dir;            /* NULL: nothing is saved */
	int lock;
	int64_t step;               /* steps done: the next one's number */
	struct record *facts;       /* all facts of the run, of every stage */
	struct record *state;       /* the loss's saved state, empty for a new run */
	char *lineage;
	struct tensor *tensors;
	float *staging;
};

/* Locks the folder (made when missing) and reads its checkpoint into t, unless fresh. facts: of this line; those of the
 * checkpoint must be the same. */
int run_open(struct run *u, const char *dir, bool fresh, struct trainer *t, const struct record *facts, const char *lineage);
/* The facts of a stage that connects later (the loss): refused when the checkpoint's differ. */
int run_check(struct run *u, const struct record *facts);
/* Writes checkpoint.safetensors, then model.safetensors. grad: brings the loss's state. */
int run_save(struct run *u, struct trainer *t, const struct record *grad);
void run_close(struct run *u);

#endif
