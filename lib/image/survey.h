/*
 * survey.h - what a data set holds: counts by class and split, sizes, and what cannot be read
 *
 *	survey_print(d, false, stdout);                decodes every picture, on all threads
 *
 * One line a fact, words separated by tabs, the first says what it is:
 *
 *	images     200
 *	bytes      22059217
 *	classes    2                         that occur
 *	class      cat     90      10        images of a class in the splits train and test
 *	absent     1       6       6         first and last of a run of classes that no image has, and how many these are
 *	side       256-511 180               pictures by their short side
 *	unreadable c/x.jpg it is truncated
 */
#ifndef IMAGE_SURVEY_H
#define IMAGE_SURVEY_H

#include "lib/image/dataset.h"

/* exif: sizes are those of the turned pictures. 0, or -1 after fail() when it cannot be printed. */
int survey_print(const struct dataset *d, bool exif, FILE *to);

#endif
