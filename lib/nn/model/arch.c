/*
 * arch.c - the architectures: rows of layers
 *
 * Names, shapes and initialisation are torchvision's (0.14), without the classifier's last layer. To add an architecture: its
 * rows and one line of archs[].
 */
#include "lib/nn/model/arch.h"

#define RE ACT_RELU
#define R6 ACT_RELU6
#define HS ACT_HARDSWISH

static const struct row resnet18[] = {
	{ RESNET_STEM, { 64 } },
	{ BASIC, { 64, 2, 1 } },
	{ BASIC, { 128, 2, 2 } },
	{ BASIC, { 256, 2, 2 } },
	{ BASIC, { 512, 2, 2 } },
	{ LAYER_MEANPOOL, { 0 } },
};

static const struct row resnet34[] = {
	{ RESNET_STEM, { 64 } },
	{ BASIC, { 64, 3, 1 } },
	{ BASIC, { 128, 4, 2 } },
	{ BASIC, { 256, 6, 2 } },
	{ BASIC, { 512, 3, 2 } },
	{ LAYER_MEANPOOL, { 0 } },
};

static const struct row resnet50[] = {
	{ RESNET_STEM, { 64 } },
	{ BOTTLENECK, { 64, 3, 1 } },
	{ BOTTLENECK, { 128, 4, 2 } },
	{ BOTTLENECK, { 256, 6, 2 } },
	{ BOTTLENECK, { 512, 3, 2 } },
	{ LAYER_MEANPOOL, { 0 } },
};

static const struct row resnet101[] = {
	{ RESNET_STEM, { 64 } },
	{ BOTTLENECK, { 64, 3, 1 } },
	{ BOTTLENECK, { 128, 4, 2 } },
	{ BOTTLENECK, { 256, 23, 2 } },
	{ BOTTLENECK, { 512, 3, 2 } },
	{ LAYER_MEANPOOL, { 0 } },
};

/* SwAV's (Caron et al. 2020): every width is twice a ResNet-50's, the stem's too; torchvision's wide_resnet50_2 is another. */
static const struct row resnet50w2[] = {
	{ RESNET_STEM, { 128 } },
	{ BOTTLENECK, { 128, 3, 1 } },
	{ BOTTLENECK, { 256, 4, 2 } },
	{ BOTTLENECK, { 512, 6, 2 } },
	{ BOTTLENECK, { 1024, 3, 2 } },
	{ LAYER_MEANPOOL, { 0 } },
};

static const struct row mobilenet_v2[] = {
	{ MOBILE_STEM, { 32, R6 } },
	{ INVERTED_V2, { 1, 16, 1 } },
	{ INVERTED_V2, { 6, 24, 2 } },
	{ INVERTED_V2, { 6, 24, 1 } },
	{ INVERTED_V2, { 6, 32, 2 } },
	{ INVERTED_V2, { 6, 32, 1 } },
	{ INVERTED_V2, { 6, 32, 1 } },
	{ INVERTED_V2, { 6, 64, 2 } },
	{ INVERTED_V2, { 6, 64, 1 } },
	{ INVERTED_V2, { 6, 64, 1 } },
	{ INVERTED_V2, { 6, 64, 1 } },
	{ INVERTED_V2, { 6, 96, 1 } },
	{ INVERTED_V2, { 6, 96, 1 } },
	{ INVERTED_V2, { 6, 96, 1 } },
	{ INVERTED_V2, { 6, 160, 2 } },
	{ INVERTED_V2, { 6, 160, 1 } },
	{ INVERTED_V2, { 6, 160, 1 } },
	{ INVERTED_V2, { 6, 320, 1 } },
	{ MOBILE_LAST, { 1280, R6 } },
	{ LAYER_MEANPOOL, { 0 } },
	{ LAYER_DROPOUT, { 0 } },
};

static const struct row mobilenet_v3_small[] = {
	{ MOBILE_STEM, { 16, HS } },
	{ INVERTED, { 3, 16, 16, 1, RE, 2 } },
	{ INVERTED, { 3, 72, 24, 0, RE, 2 } },
	{ INVERTED, { 3, 88, 24, 0, RE, 1 } },
	{ INVERTED, { 5, 96, 40, 1, HS, 2 } },
	{ INVERTED, { 5, 240, 40, 1, HS, 1 } },
	{ INVERTED, { 5, 240, 40, 1, HS, 1 } },
	{ INVERTED, { 5, 120, 48, 1, HS, 1 } },
	{ INVERTED, { 5, 144, 48, 1, HS, 1 } },
	{ INVERTED, { 5, 288, 96, 1, HS, 2 } },
	{ INVERTED, { 5, 576, 96, 1, HS, 1 } },
	{ INVERTED, { 5, 576, 96, 1, HS, 1 } },
	{ MOBILE_LAST, { 576, HS } },
	{ LAYER_MEANPOOL, { 0 } },
	{ CLASSIFIER, { 1024, HS } },
	{ LAYER_DROPOUT, { 0 } },
};

static const struct row mobilenet_v3_large[] = {
	{ MOBILE_STEM, { 16, HS } },
	{ INVERTED, { 3, 16, 16, 0, RE, 1 } },
	{ INVERTED, { 3, 64, 24, 0, RE, 2 } },
	{ INVERTED, { 3, 72, 24, 0, RE, 1 } },
	{ INVERTED, { 5, 72, 40, 1, RE, 2 } },
	{ INVERTED, { 5, 120, 40, 1, RE, 1 } },
	{ INVERTED, { 5, 120, 40, 1, RE, 1 } },
	{ INVERTED, { 3, 240, 80, 0, HS, 2 } },
	{ INVERTED, { 3, 200, 80, 0, HS, 1 } },
	{ INVERTED, { 3, 184, 80, 0, HS, 1 } },
	{ INVERTED, { 3, 184, 80, 0, HS, 1 } },
	{ INVERTED, { 3, 480, 112, 1, HS, 1 } },
	{ INVERTED, { 3, 672, 112, 1, HS, 1 } },
	{ INVERTED, { 5, 672, 160, 1, HS, 2 } },
	{ INVERTED, { 5, 960, 160, 1, HS, 1 } },
	{ INVERTED, { 5, 960, 160, 1, HS, 1 } },
	{ MOBILE_LAST, { 960, HS } },
	{ LAYER_MEANPOOL, { 0 } },
	{ CLASSIFIER, { 1280, HS } },
	{ LAYER_DROPOUT, { 0 } },
};

static const struct row efficientnet_b0[] = {
	{ MOBILE_STEM, { 32, ACT_SILU } },
	{ MBCONV, { 1, 3, 1, 16, 1 } },
	{ MBCONV, { 6, 3, 2, 24, 2 } },
	{ MBCONV, { 6, 5, 2, 40, 2 } },
	{ MBCONV, { 6, 3, 2, 80, 3 } },
	{ MBCONV, { 6, 5, 1, 112, 3 } },
	{ MBCONV, { 6, 5, 2, 192, 4 } },
	{ MBCONV, { 6, 3, 1, 320, 1 } },
	{ MOBILE_LAST, { 1280, ACT_SILU } },
	{ LAYER_MEANPOOL, { 0 } },
	{ LAYER_DROPOUT, { 0 } },
};

static const struct row efficientnet_b1[] = {
	{ MOBILE_STEM, { 32, ACT_SILU } },
	{ MBCONV, { 1, 3, 1, 16, 2 } },
	{ MBCONV, { 6, 3, 2, 24, 3 } },
	{ MBCONV, { 6, 5, 2, 40, 3 } },
	{ MBCONV, { 6, 3, 2, 80, 4 } },
	{ MBCONV, { 6, 5, 1, 112, 4 } },
	{ MBCONV, { 6, 5, 2, 192, 5 } },
	{ MBCONV, { 6, 3, 1, 320, 2 } },
	{ MOBILE_LAST, { 1280, ACT_SILU } },
	{ LAYER_MEANPOOL, { 0 } },
	{ LAYER_DROPOUT, { 0 } },
};

static const struct row shufflenet_v2_x1_0[] = {
	{ SHUFFLE_STEM, { 24 } },
	{ SHUFFLE_UNITS, { 116, 4 } },
	{ SHUFFLE_UNITS, { 232, 8 } },
	{ SHUFFLE_UNITS, { 464, 4 } },
	{ SHUFFLE_LAST, { 1024 } },
	{ LAYER_MEANPOOL, { 0 } },
};

/* timm's deit_tiny_patch16_224, deit_small_ and vit_base_ (Dosovitskiy et al. 2021; Touvron et al. 2021): DINO's, too. */
static const struct row deit_tiny[] = {
	{ VIT_PATCHES, { 192, 16, 4, 0 } },
	{ VIT_BLOCKS, { 12, 3, 768, 192, 1, 0 } },
};

static const struct row deit_small[] = {
	{ VIT_PATCHES, { 384, 16, 4, 0 } },
	{ VIT_BLOCKS, { 12, 6, 1536, 384, 1, 0 } },
};

static const struct row vit_base[] = {
	{ VIT_PATCHES, { 768, 16, 4, 0 } },
	{ VIT_BLOCKS, { 12, 12, 3072, 768, 1, 0 } },
};

/* What Shi et al. 2022 call DeiT-Tiny (their code's vit_tiny): six heads, which together are wider than the tokens. */
static const struct row vit_tiny_ssl[] = {
	{ VIT_PATCHES, { 192, 16, 4, 1 } },
	{ VIT_BLOCKS, { 12, 6, 768, 384, 0, 1 } },
};

#define ARCH(name, summary, eps, momentum, ...) \
	{ .entry = { #name, summary, NULL }, .rows = name, .count = ARRAY_SIZE(name), .bn_eps = eps, .bn_momentum = momentum, \
	  .init = __VA_ARGS__ }
static const struct arch archs[] = {
	ARCH(resnet18, "ResNet-18 (He et al. 2016), feature 512, 11.2 M parameters", 1e-5, 0.1, INIT_UNIFORM),
	ARCH(resnet34, "ResNet-34 (He et al. 2016), feature 512, 21.3 M parameters", 1e-5, 0.1, INIT_UNIFORM),
	ARCH(resnet50, "ResNet-50 v1.5 (He et al. 2016), feature 2048, 23.5 M parameters", 1e-5, 0.1, INIT_UNIFORM),
	ARCH(resnet101, "ResNet-101 v1.5 (He et al. 2016), feature 2048, 42.5 M parameters", 1e-5, 0.1, INIT_UNIFORM),
	ARCH(resnet50w2, "ResNet-50 of twice all widths (SwAV: Caron et al. 2020), feature 4096, 93.9 M parameters", 1e-5, 0.1,
	     INIT_UNIFORM),
	ARCH(mobilenet_v2, "MobileNetV2 (Sandler et al. 2018), feature 1280, 2.2 M parameters", 1e-5, 0.1, INIT_NORMAL),
	ARCH(mobilenet_v3_small, "MobileNetV3 small (Howard et al. 2019), feature 1024, 1.5 M parameters", 1e-3, 0.01,
	     INIT_NORMAL),
	ARCH(mobilenet_v3_large, "MobileNetV3 large (Howard et al. 2019), feature 1280, 4.2 M parameters", 1e-3, 0.01,
	     INIT_NORMAL),
	ARCH(efficientnet_b0, "EfficientNet-B0 (Tan and Le 2019), feature 1280, 4.0 M parameters", 1e-5, 0.1, INIT_UNIFORM),
	ARCH(efficientnet_b1, "EfficientNet-B1 (Tan and Le 2019), feature 1280, 6.5 M parameters", 1e-5, 0.1, INIT_UNIFORM),
	ARCH(shufflenet_v2_x1_0, "ShuffleNetV2 (Ma et al. 2018), feature 1024, 1.3 M parameters", 1e-5, 0.1, INIT_DEFAULT),
	ARCH(deit_tiny, "DeiT-Tiny (Touvron et al. 2021), patches of 16 (small: 4), feature 192, 5.5 M parameters", 1e-6, 0.1,
	     INIT_VIT),
	ARCH(deit_small, "DeiT-Small, ViT-S/16 (Touvron et al. 2021), patches of 16 (small: 4), feature 384, 21.7 M parameters",
	     1e-6, 0.1, INIT_VIT),
	ARCH(vit_base, "ViT-B/16 (Dosovitskiy et al. 2021), patches of 16 (small: 4), feature 768, 85.8 M parameters", 1e-6, 0.1,
	     INIT_VIT),
	ARCH(vit_tiny_ssl, "the DeiT-Tiny of Shi et al. 2022, patches of 16 (small: 4), feature 192, 7.3 M parameters", 1e-5, 0.1,
	     INIT_DEFAULT, .freeze = "patch_embed."),
};
const struct table arch_table = TABLE("architecture", archs);

const struct arch *arch_find(const char *name)
{
	return (const struct arch *)table_find(&arch_table, name);
}
