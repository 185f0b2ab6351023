/*
 * names.h - names that stages exchange: who makes them, how wide they are, whether gradients come back (wire.5, NAMES)
 *
 * A name is a prefix and the number of a view, q0, or a word of its own, label; one of several predictors has a word of its own
 * between the two, psemadv0. What is not in the table, as what a network was told to give --as another name, belongs to the stage
 * that offers it.
 *
 *	int view;
 *	const struct name *n = name_find("q12", &view);        name_rows[NAME_HEAD], 12
 *	if (!n) ...
 *	fail("nobody gives '%s': %s", name, name_remedy(name));
 */
#ifndef TENSOR_NAMES_H
#define TENSOR_NAMES_H

#include "lib/base/base.h"

enum name_kind {
	NAME_VIEW, NAME_FEATURE, NAME_HEAD, NAME_PREDICTOR, NAME_KEY, NAME_TEACHER, NAME_TEACHER_FEATURE, NAME_TEACHER_PREDICTOR,
	NAME_TEACHER_KEY, NAME_LABEL, NAME_MIX, NAME_INDEX, NAME_SPLIT, NAME_IMAGE, NAMES
};

/* Whether a loss answers with d:NAME. */
enum name_gradient { GRADIENT_NEVER, GRADIENT_MAY, GRADIENT_MUST };

/* f32 [B, width] by what it is as wide as; the rest has a shape of its own. */
enum name_width { WIDTH_FEATURE, WIDTH_HEAD, WIDTH_PREDICTOR, WIDTH_OWN };

struct name {
	const char *prefix;
	enum name_rest { REST_NONE, REST_VIEW, REST_WORD_VIEW } rest;   /* what follows; a word may come before a view */
	enum name_gradient gradient;
	enum name_width width;
	const char *maker, *remedy;   /* whose it is; what would make it, where it is missing */
};
extern const struct name name_rows[NAMES];
#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyz"   /* what a predictor's word is made of */

/* The number behind a prefix, as everybody writes it: q1, not q01 nor q+1, which are other names. Whether it is one. */
bool name_number(const char *digits, int *view);
/* NULL: not in the table. *view: 0 where it has no number. */
const struct name *name_find(const char *name, int *view);
/* Whether a loss that is given it sends a gradient. */
bool name_is_trained(const char *name);
const char *name_remedy(const char *name);

#endif
