/* layers_shuffle.c - ShuffleNetV2 (Ma et al. 2018, fig. 3c and 3d); names are torchvision's */
#include "lib/nn/model/build.h"

/* conv, norm pair under PREFIX.AT and PREFIX.AT+1. */
static void shuffle_conv(struct builder *b, const char *prefix, int at, struct conv_spec s)
{
	s.conv = NAME("%s.%d", prefix, at);
	s.norm = NAME("%s.%d", prefix, at + 1);
	s.pad = s.k / 2;
	build_conv(b, &s);
}

/* Small images: stride 1 and no pooling, as for a ResNet. */
void build_shuffle_stem(struct builder *b, const int *v)
{
	bool small = b->plan->net->config.small;

	shuffle_conv(b, "conv1", 0, (struct conv_spec){ .out = v[0], .k = 3, .stride = small ? 1 : 2, .act = ACT_RELU });
	if (!small)
		build_maxpool(b, 3, 2, 1);
}

void build_shuffle_last(struct builder *b, const int *v)
{
	shuffle_conv(b, "conv5", 0, (struct conv_spec){ .out = v[0], .k = 1, .stride = 1, .act = ACT_RELU });
}

/* branch1, where the image shrinks: what is passed on goes through a depthwise convolution too. */
static void pass_on(struct builder *b, const char *unit, int width)
{
	const char *prefix = NAME("%s.branch1", unit);

	shuffle_conv(b, prefix, 0, (struct conv_spec){ .k = 3, .stride = 2, .depthwise = true });
	shuffle_conv(b, prefix, 2, (struct conv_spec){ .out = width, .k = 1, .stride = 1, .act = ACT_RELU });
}

static void branch(struct builder *b, const char *unit, int width, int stride)
{
	const char *prefix = NAME("%s.branch2", unit);

	shuffle_conv(b, prefix, 0, (struct conv_spec){ .out = width, .k = 1, .stride = 1, .act = ACT_RELU });
	shuffle_conv(b, prefix, 3, (struct conv_spec){ .k = 3, .stride = stride, .depthwise = true });
	shuffle_conv(b, prefix, 5, (struct conv_spec){ .out = width, .k = 1, .stride = 1, .act = ACT_RELU });
}

void build_shuffle_units(struct builder *b, const int *v)
{
	for (int i = 0; i < v[1]; i++) {
		const char *unit = NAME("stage%d.%d", b->row + 1, i);
		int from = b->at, passed, width = v[0] / 2;

		if (i == 0)
			pass_on(b, unit, width);
		else
			build_slice(b, 0, width);
		passed = b->at;
		b->at = from;
		if (i > 0)
			build_slice(b, width, width);
		branch(b, unit, width, i == 0 ? 2 : 1);
		build_shuffle(b, passed);
	}
}
