/*
 * maker.h - batches of views: from (step, part, names) to tensors, the same bytes whoever makes them and on however many threads
 *
 * What a maker gives: viewI u8 [B,size,size,3], I < views, of the view's own size; index i64 [B] (number of the sample in the
 * sorted data set); label i32 [B] (-1 unknown); with a mixed view mix f32 [B], the share of its first view; in evaluation also
 * split i32 [B] (0 train, 1 test) and name u8 [B,L], padded with NUL. There view0 is the recipe eval's (recipe_eval()), the
 * others are drawn by the recipe of the options for epoch 0.
 *
 * With bags the last half of the views of full size is of a member of the sample's bag (bags.h); index and label stay its own.
 *
 * A sample that cannot be decoded is noted and counted once; in training another one stands in (rows.h), in evaluation its row
 * is left out. When too many are bad (dataset_bad_most()), making fails.
 *
 *	struct maker_options o = MAKER_OPTIONS_INIT;
 *	choice_parse(&o.recipe, &recipe_table, "mocov2");
 *	struct maker *m = maker_new(&o, dataset);          the maker now owns the data set
 *	struct tensor t[2];
 *	if (!m || maker_make(m, 12, 0, 1, (const char *const[]){ "view0", "view1" }, 2, t) < 0)
 *		return -1;
 *	tensor_release(&t[0]), tensor_release(&t[1]);      their memory is then used again
 *	maker_free(m);
 */
#ifndef IMAGE_MAKER_H
#define IMAGE_MAKER_H

#include "lib/image/facts.h"
#include "lib/image/profile.h"

struct maker;
/* Takes the data set over, also when it fails: NULL after fail(), with EXIT_USAGE where the options are to blame. */
struct maker *maker_new(const struct maker_options *o, struct dataset *d);
void maker_free(struct maker *m);
const struct facts *maker_facts(const struct maker *m);
const struct dataset *maker_dataset(const struct maker *m);
/* Epoch of a step, counted from 0. */
int64_t maker_epoch(const struct maker *m, int64_t step);
/* Makes the named tensors of one part of a step into out[count]. 0, or -1 after fail(). Not for two threads at once. */
int maker_make(struct maker *m, int64_t step, int part, int parts, const char *const *names, int count, struct tensor *out);
/* Whether the threads measure what they spend their time on; adds what they have spent to *sum. */
void maker_profile(struct maker *m, bool on);
void maker_spent(const struct maker *m, struct profile *sum);
/* How many samples have turned out to be unreadable. */
int maker_bad(const struct maker *m);
/* Says what share of pairs had to do without the IoU asked for; nothing where none had to. */
void maker_say_missed(const struct maker *m);
/* What is drawn for all views of a sample in an epoch, and the sample's width and height. */
int maker_draws(struct maker *m, int sample, uint32_t epoch, struct draw *draws, int wh[2]);
/* A whole sample, fitted into side x side pixels on white. */
int maker_original(struct maker *m, int sample, int side, uint8_t *rgb);

#endif
