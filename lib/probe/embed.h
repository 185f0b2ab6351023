/*
 * embed.h - the probes that draw features on a plane: pca, tsne
 *
 * Both write a file of lines, tabs between columns, with the names of the columns first: name, split, label, x, y (z, c4, c5, ..
 * of more components); and pictures of it where they are asked for (scatter.h).
 */
#ifndef PROBE_EMBED_H
#define PROBE_EMBED_H

#include "lib/base/options.h"
#include "lib/probe/features.h"

extern const struct param embed_pca_params[], embed_tsne_params[];
int embed_check_pca(const struct choice *c);
int embed_check_tsne(const struct choice *c);
/* As probe.h says of run. */
int embed_pca(const struct choice *c, const struct features *f, FILE *out);
int embed_tsne(const struct choice *c, const struct features *f, FILE *out);

#endif
