/* augment.h - what main.c and alone.c share: the options, and what is done without a stage behind */
#ifndef AUGMENT_H
#define AUGMENT_H

#include "lib/image/maker.h"
#include "lib/image/pack.h"
#include "lib/stream/stage.h"

struct options {
	struct stage_options stage;
	struct maker_options maker;
	struct pack_options pack;     /* its exif and max_bad are the maker's */
	bool list, describe, dry_run, profile;
	const char *labels, *holdout, *preview;
	const char *like;             /* a model; the rest is what its metadata say of the run: */
	const char *like_data;        /* fingerprint of the data */
	const char *like_spec[2];     /* --labels and --holdout as given, files by their whole path; "" without */
	const char *like_print[2];    /* fingerprints of what came of them; "" without */
};
enum { LIKE_LABELS, LIKE_HOLDOUT, LIKES };

/* Whether the options ask for something that serves nobody: a preview, a pack, a description, a dry run. */
bool is_alone(const struct options *o);
/* Fills o, which holds the defaults and the name of the model, with what the model's run was given. 0, or -1 after fail(). */
int like_defaults(struct options *o);
/* Applies --labels and --holdout to the data set: the given ones, or else, where the data are the same, those of the model's run,
 * which are then as if given. */
int like_apply(struct options *o, struct dataset *d);
/* Says in a schema what --labels and --holdout were. */
void like_record(const struct options *o, struct record *schema);
/* Does what is_alone() tells. Takes the data set over. 0, or -1 after fail(). */
int run_alone(struct options *o, struct dataset *d);

#endif
