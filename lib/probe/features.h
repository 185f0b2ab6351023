/*
 * features.h - the samples of one pass over the data, kept for the probes
 *
 * One growing set a split. Row i of every array of a set is the same sample, in the order of the stream. x[v] are the features of
 * view v: view 0 is the evaluation picture; 1 and 2, when they are served, augmented ones.
 *
 *	struct features f;
 *	features_init(&f, "feature", 512, 3, 40);
 *	features_add(&f, batch, count);           any number of times: feature0.., label, split, index, name
 *	f.set[TRAIN].x[0]                         (f.set[TRAIN].count, 512)
 *	features_release(&f);
 */
#ifndef PROBE_FEATURES_H
#define PROBE_FEATURES_H

#include "lib/tensor/tensor.h"

enum split { TRAIN, TEST, SPLITS };
enum { FEATURE_VIEWS = 3 };

struct samples {
	int64_t count, room;
	float *x[FEATURE_VIEWS];       /* (count, dim); NULL beyond features.views */
	int32_t *label;                /* -1: unknown */
	int64_t *index;
	char *name;                    /* (count, name_size), zero-padded */
	uint8_t *small;                /* (count, small_h, small_w, 3): pictures to look at; NULL: none are kept */
};

struct features {
	char on[32];                   /* what they are: "feature", "q", "view" */
	int64_t dim;
	int views, name_size;          /* name_size 0: no names kept */
	char data[40], holdout[40];    /* fingerprints of the data set, "count:hash", and of what it holds out; "": unknown */
	char *classes;                 /* their names, a line each; NULL: unknown */
	int64_t view_h, view_w;        /* of view0, where small pictures of it are kept, else 0 */
	int small_h, small_w, factor;
	struct samples set[SPLITS];
};

void features_init(struct features *f, const char *on, int64_t dim, int views, int name_size);
void features_release(struct features *f);
/* Keeps a small picture of each sample (thumbnail.h), made of "view0" of h x w pixels. Before the first samples. */
void features_keep_small(struct features *f, int64_t h, int64_t w);
/* The names of the classes, a line each, in size bytes; copied. */
void features_keep_classes(struct features *f, const char *classes, size_t size);
/* Whether that many samples leave room on this machine. Fails with EXIT_USAGE when they do not. */
int features_fit(const struct features *f, int64_t samples);
/* Appends a batch: "ON0".. (f32 or u8 [B,...]; u8 is divided by 255), "label", "split", "index" and, when kept, "name" and
 * "view0" (u8 [B,h,w,3]). Fails on
 * missing tensors, other shapes, a split that is neither 0 nor 1, or values that are not finite. */
int features_add(struct features *f, const struct tensor *batch, int count);

/* One line without tabs into dst (returned): the name of a sample, or its number; the name of a class, its number, or "?". */
const char *features_name(const struct features *f, int split, int64_t row, char *dst, size_t size);
const char *features_class(const struct features *f, int32_t label, char *dst, size_t size);

/* Columns that are equal in all samples and views become one, times the root of their number: products of rows, and so distances
 * and penalties, stay as they are. A grey picture of three channels is then a third as wide. Not before an export. */
void features_fold(struct features *f);

/* Two sets as a classifier reads them: borrowed. */
struct labelled {
	const float *train;            /* (train_count, dim) */
	int64_t train_count;
	const int32_t *train_label;    /* 0 .. classes-1 */
	const float *test;             /* (test_count, dim) */
	int64_t test_count;
	const int32_t *test_label;
	int64_t dim;
	int classes;                   /* highest label + 1 */
};
/* View 0 of both splits. Fails with EXIT_USAGE when one has no samples or a sample no label; probe is for the message. */
int features_labelled(const struct features *f, const char *probe, struct labelled *sets);

#endif
