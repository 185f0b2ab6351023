/*
 * losses.h - what each loss's file gives to the table in loss.c
 */
#ifndef LOSS_LOSSES_H
#define LOSS_LOSSES_H

#include "lib/loss/loss.h"

#define LOSS_FUNCTIONS(name)                               \
	extern const struct param name##_params[];         \
	int name##_prepare(struct objective *o);           \
	int name##_accept(const struct objective *o);      \
	double name##_expected(const struct objective *o); \
	void name##_evaluate(struct objective *o);         \
	void name##_release(struct objective *o)

LOSS_FUNCTIONS(moco);

#endif
