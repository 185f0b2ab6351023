/*
 * scatter.h - chosen samples at places: as lines, as coloured points, as small pictures
 *
 * x (samples, dims): the places, of which pictures show the first two, x to the right and y up, in one scale.
 */
#ifndef PROBE_SCATTER_H
#define PROBE_SCATTER_H

#include "lib/probe/chosen.h"

/* A colour for each number, 0xRRGGBB: the first ten are told apart best; grey for -1. */
uint32_t scatter_colour(int32_t label);

/* Each writes a file whole. 0, or -1 after fail(). */
int scatter_lines(const struct chosen *c, const float *x, int dims, const char *path);
/* Beside the points the classes' names over their colours. */
int scatter_points(const struct chosen *c, const float *x, int dims, const char *path);
/* A picture a cell of a grid, of the sample that is nearest to the cell's middle, framed in its class's colour. Needs the
 * samples' small pictures. */
int scatter_thumbs(const struct chosen *c, const float *x, int dims, const char *path);

#endif
