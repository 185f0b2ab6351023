/*
 * query.h - the probe that shows images beside the training images that are nearest to them by cosine
 *
 * A sheet has a row a query, first the query, then its k nearest in frames: green where the class is the query's, red where it is
 * not, grey where one is unknown. The file beside it has a line a neighbour, tabs between columns, their names first: query,
 * query_label, rank, neighbour, label, cosine.
 */
#ifndef PROBE_QUERY_H
#define PROBE_QUERY_H

#include "lib/base/options.h"
#include "lib/probe/features.h"

extern const struct param query_params[];
int query_check(const struct choice *c);
/* As probe.h says of run. */
int query_run(const struct choice *c, const struct features *f, FILE *out);

#endif
