/*
 * conv_tiles.h - dense convolution and linear layers in bf16 by AMX, without patches (private to lib/nn)
 *
 * Of the nodes for which conv_tiled() holds, op_conv.c leaves both passes to these functions and weights.c the weights: packed once a
 * forward pass, as they are and, where a backward pass follows, transposed.
 */
#ifndef NN_CONV_TILES_H
#define NN_CONV_TILES_H

#include "lib/nn/engine/engine.h"

bool conv_tiled(const struct net *net, const struct node *x, const struct node *in);
void conv_tiles_forward(struct task *t);
void conv_tiles_backward(struct task *t);
size_t conv_tiles_scratch(const struct node *x, const struct node *in, bool grad);
/* Bytes of a node's packed weights, of their transposes when turned; a thread's part of making them. */
size_t conv_tiles_weights(const struct node *x, const struct node *in, bool turned);
void conv_tiles_pack(const struct task *t, const struct node *x, const struct node *in, bool turned, char *to);

#endif
