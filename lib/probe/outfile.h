/*
 * outfile.h - files that probes write: whether they can be, and their names in a probe's line
 */
#ifndef PROBE_OUTFILE_H
#define PROBE_OUTFILE_H

#include "lib/base/base.h"

/* What a parameter says that names no file. */
#define OUTFILE_NONE "none"
bool outfile_wanted(const char *path);
/* Refuses, with EXIT_USAGE, a path in a folder that nobody may write into. */
int outfile_check(const char *path);
/* , "key": "path" */
void outfile_print(FILE *out, const char *key, const char *path);

#endif
