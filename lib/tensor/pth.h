/*
 * pth.h - PyTorch's files (torch.save since 1.6): a zip of raw storages and a pickle that says what they are
 *
 * Nothing of the pickle is executed. Tensors are found in dictionaries and lists within one another, under their keys joined by
 * dots: { "state_dict": { "conv1.weight": ... }, "optimizer": ... } gives "state_dict.conv1.weight" and the optimiser's.
 * Whatever else stands there is passed over; a text "arch" on the first level becomes metadata. Tensors lie where they are in the
 * file, or are copied where their strides or their place ask for it. Every size is checked against the file.
 */
#ifndef TENSOR_PTH_H
#define TENSOR_PTH_H

#include "lib/tensor/tensors.h"

/* Whether a mapped file is of this kind, or of those that PyTorch wrote earlier, which pth_parse() refuses saying what to do. */
bool pth_is(const struct tensors *f);
/* Fills the rest of a mapped file. 0, or -1 after fail(). */
int pth_parse(struct tensors *f, const char *path);

#endif
