/*
 * export.h - features into a file that others read
 *
 * Rows are the training samples, then the test samples, each in the order of the stream, which is that of index.
 *
 *	PATH.safetensors   one tensor each: "ON0" f32 [N,dim] (ON1, ON2 when served), "label" i32 [N], "split" i32 [N] (0 train,
 *	                   1 test), "index" i64 [N], "name" u8 [N,L] (padded with NUL)
 *	PATH.npy           the same as fields of one structured array [N] (NumPy format 1.0), name of dtype S<L>:
 *	                   numpy.load(PATH)["feature0"] is (N, dim)
 */
#ifndef PROBE_EXPORT_H
#define PROBE_EXPORT_H

#include "lib/probe/features.h"

enum features_format { FEATURES_SAFETENSORS, FEATURES_NPY };
/* By the ending of path; -1 with EXIT_USAGE for another one. */
int features_format(const char *path);
/* The file appears whole or not at all. */
int features_export(const struct features *f, const char *path);

#endif
