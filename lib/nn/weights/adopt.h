/*
 * adopt.h - a network's weights from whatever file holds them: ours, torchvision's, timm's, a training code's checkpoint
 *
 * The weights are looked for under every prefix and under both libraries' names (aliases.h); the place that has most of the
 * network's backbone is taken ("state_dict.module.encoder_q."). Of two that have as much, the trained one is taken rather than
 * its moving average (a prefix with ema, momentum, encoder_k, teacher, target, key, average or swa in it); two more of a kind
 * are refused. A note names the prefix, and what is left aside with its number of tensors.
 *
 *	read = adopt(net, &file, path, 0, params, buffers);    -1 after fail()
 *	if (!(read & LAYERS_OF(OUTPUT_HEAD))) ...            the file has no head: the network's is as it was
 */
#ifndef NN_ADOPT_H
#define NN_ADOPT_H

#include "lib/nn/weights/model.h"

/* fresh: layers (LAYERS_OF) of which the file may have others: those, and predictors behind another head, are left aside as if it
 * had none. Returns the layers read. */
int adopt(const struct net *net, const struct tensors *f, const char *path, int fresh, float *params, float *buffers);

#endif
