/*
 * ema.h - the momentum of a key encoder, and its move (He et al. 2020, eq. 2; Grill et al. 2020, sec. 3.2: rising by cosine)
 *
 *	key = m * key + (1 - m) * query,    m = to - (to - from) * (cos(pi * step / steps) + 1) / 2
 *
 *	struct ema e;
 *	if (ema_parse(&e, "0.99..1") < 0) ...                       "0.999": the same at all steps
 *	ema_update(n, ema_momentum(&e, step, steps), query, key);
 */
#ifndef NN_EMA_H
#define NN_EMA_H

#include "lib/nn/engine/net.h"

struct ema {
	double from, to;         /* 0 to 1 */
};

/* -1 after fail() with EXIT_USAGE. */
int ema_parse(struct ema *e, const char *text);
/* step counts from 0. */
double ema_momentum(const struct ema *e, int64_t step, int64_t steps);
/* Of n elements. */
void ema_update(int64_t n, double m, const float *query, float *key);
/* Of the n first elements of a net's parameters, or buffers, but the frozen ones, which both have in common. */
void ema_follow(const struct net_tensor *tensors, int count, bool buffers, int64_t n, double m, const float *query, float *key);

#endif
