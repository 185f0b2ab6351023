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
};

/* Whether the options ask for something that serves nobody: a preview, a pack, a description, a dry run. */
bool is_alone(const struct options *o);
/* Does it. Takes the data set over. 0, or -1 after fail(). */
int run_alone(struct options *o, struct dataset *d);

#endif
