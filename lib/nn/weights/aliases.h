/*
 * aliases.h - what other libraries call the same tensors
 *
 * A network's own names are torchvision's, for DeiT timm's. The other library's follow by rules: timm's for the MobileNets and
 * EfficientNet ("features.4.block.1.0.weight" is "blocks.2.0.conv_dw.weight"), torchvision's for DeiT ("blocks.3.attn.qkv.bias"
 * is "encoder.layers.encoder_layer_3.self_attention.in_proj_bias"). ResNets have the same names in both.
 */
#ifndef NN_ALIASES_H
#define NN_ALIASES_H

#include "lib/nn/model/arch.h"

/* The other library: "timm", "torchvision"; NULL where its names are ours. */
const char *aliases_other(const struct arch *a);
/* Its name of a tensor of the network. 0, or -1 when it has none, or it does not fit. */
int aliases_translate(const struct arch *a, const char *name, char *out, size_t size);
/* The eps of its batch norm, which for MobileNetV3 is not torchvision's. */
double aliases_bn_eps(const struct arch *a);
/* What it calls an architecture, or we do; NULL when there is none of that name here. */
const struct arch *aliases_arch(const char *name);

#endif
