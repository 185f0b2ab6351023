/*
 * dataset.h - a set of labelled samples from folders, tars, IDX or CIFAR files, sorted by name
 *
 * Names are paths inside the data set ("airplane/0001.jpg", "train/airplane/0001.jpg"). A first folder called train, val, valid,
 * validation or test is the split; the folder after it is the class, the classes in sorted order are labels 0, 1, ...; a flat
 * file named like ImageNet's (n01440764_tench.JPEG) has its synset as class. A WebDataset may say the class itself
 * (webdataset.h), and so may a file of labels; when all classes so given are numbers, they are the labels. What has no class has
 * label -1. The same files give the same data set from a folder or a tar, whatever the order on disk.
 *
 *	char *paths[] = { "data" };
 *	struct dataset *d = dataset_open(paths, 1, false);
 *	if (!d || dataset_holdout(d, "5000") < 0)
 *		return -1;
 *	struct bytes scratch = BYTES_INIT;              one a thread
 *	struct blob b;
 *	if (dataset_load(d, 0, &scratch, &b) == 0)      b points into scratch or into the data set
 *		...
 *	bytes_release(&scratch);
 *	dataset_free(d);
 *
 * dataset_load() may be called from several threads at once, each with its own scratch.
 */
#ifndef IMAGE_DATASET_H
#define IMAGE_DATASET_H

#include "lib/image/kinds.h"
#include "lib/image/picture.h"

enum split { SPLIT_TRAIN, SPLIT_TEST };

struct sample {
	uint64_t offset;     /* of its bytes in the source */
	uint32_t name;       /* offset in the pool of texts */
	uint32_t class;      /* likewise, of a class that was given; 0: found from the name */
	uint32_t size;
	int32_t label;       /* -1: unknown */
	uint16_t source;
	uint8_t split;
};

struct reader;
struct source {
	const struct reader *reader;
	char *path;
	int fd;                 /* -1 when not needed */
	uint32_t stripped;      /* bytes of folders that were taken off the front of all names */
	uint8_t *memory;        /* whole content, for kinds that keep it */
	int w, h;               /* of raw pixels */
};

struct dataset {
	struct sample *samples;      /* sorted by name */
	int count;
	char **classes;              /* name of each label */
	int class_count;
	int passed[FILE_KINDS];      /* files that were passed over, by kind; the set says so once it is open */
	char fingerprint[40];        /* "count:hash" of sorted names and sizes */
	char holdout[40];            /* the same of the held-out names; "" without */
	char labels[40];             /* "classes:hash" of the classes' names and each sample's label */
	size_t name_max;             /* bytes of the longest name */
	struct source *sources;
	int source_count;
	char *names;                 /* the pool of texts */
	size_t names_used, names_room, samples_room;
};

/* Opens each path, "-" being stdin: a tar, or a list of the names of picture files with a NUL after each. NULL after fail(). */
struct dataset *dataset_open(char *const *paths, int count, bool list);
void dataset_free(struct dataset *d);
const char *dataset_name(const struct dataset *d, int sample);
/* A sample's name without the folder of its split. */
const char *dataset_bare_name(const struct dataset *d, int sample);
/* Takes the classes from a file of lines NAME<tab>CLASS; samples that it does not name have none. To be called before
 * dataset_holdout(). */
int dataset_label(struct dataset *d, const char *path);
/* Makes training samples the split test: those that the lines of a file name (class/file), or as many as a number says, chosen
 * evenly over the classes by a hash of their names, which no seed changes. */
int dataset_holdout(struct dataset *d, const char *spec);
/* How many samples of a split there are. */
int dataset_split_count(const struct dataset *d, enum split s);
/* How many of so many samples may be unreadable: a share of them, but DATASET_BAD in any case where the share is above 0. */
enum { DATASET_BAD = 8 };
int dataset_bad_most(double share, int64_t samples);
/* The numbers of the samples of a split, train, test or all, for the caller to free; NULL after fail(), with EXIT_USAGE, when
 * there are none. */
int *dataset_choose(const struct dataset *d, const char *split, int *count);
/* Forgets all samples but those of a split; labels stay what they are. */
int dataset_keep(struct dataset *d, const char *split);

/* Growing memory for the bytes of one sample. */
struct bytes {
	uint8_t *data;
	size_t room;
	bool waited;    /* for a disk, since this was last set to false */
};
#define BYTES_INIT { NULL, 0, false }
void bytes_release(struct bytes *b);

/* The bytes of a sample, valid until the next load with the same scratch. 0, or -1 after fail() with the cause alone. */
int dataset_load(const struct dataset *d, int sample, struct bytes *scratch, struct blob *blob);
/* Says that a sample will be loaded soon, so that the disk can work meanwhile. */
void dataset_expect(const struct dataset *d, int sample);

/* --- filling it: for readers (reader.h) and classes.c --- */

/* Adds a sample, whose split and class are found from its name later. Returns its number for now, or -1 after fail(). */
int dataset_add(struct dataset *d, int source, const char *name, uint64_t offset, uint64_t size);
/* Counts a file whose name is no picture's, when it is of a kind that would be missed. */
void dataset_pass(struct dataset *d, const char *path);
/* Keeps a text in the pool of d; its offset, or 0 when the pool is full. */
uint32_t dataset_text(struct dataset *d, const char *text);
/* Takes folders off the names from sample first on, as long as all lie in one that is neither a split nor their class. */
void dataset_strip(struct dataset *d, int source, int first);
/* All samples are there: puts them in order. */
void dataset_settle(struct dataset *d);
/* Finds splits and labels of all samples, which are in order. */
void dataset_classify(struct dataset *d);
void dataset_forget_classes(struct dataset *d);
/* How many bytes the first folder of a name has; 0: it lies in none. */
size_t dataset_folder(const char *name);
/* The split that a folder's name of n bytes stands for, or -1. */
int dataset_folder_split(const char *name, size_t n);

#endif
