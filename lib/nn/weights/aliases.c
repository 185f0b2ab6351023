#include "lib/nn/weights/aliases.h"

/* --- one name by rules --- */

struct rule {
	const char *ours, *theirs;
};

/* Splits "blocks.0.weight" into its part and its last word; the part's length. */
static int split(const char *name, const char **last)
{
	const char *dot = strrchr(name, '.');

	*last = dot ? dot + 1 : name;
	return dot ? (int)(dot - name) : 0;
}

/* The rule for a part's name; NULL when there is none. */
static const char *follow(const struct rule *rules, int count, const char *part, int length)
{
	for (int i = 0; i < count; i++)
		if (strlen(rules[i].ours) == (size_t)length && strncmp(rules[i].ours, part, length) == 0)
			return rules[i].theirs;
	return NULL;
}

/* --- MobileNets and EfficientNet by timm --- */

/* Behind "features.4.block." or "features.4.conv.": MobileNetV2 has no folder for its last convolution and norm. */
static const struct rule block_rules[] = {
	{ "0.0", "conv_pw" },	    { "0.1", "bn1" },		  { "1.0", "conv_dw" },	 { "1.1", "bn2" },
	{ "2.fc1", "se.conv_reduce" }, { "2.fc2", "se.conv_expand" }, { "2.0", "conv_pwl" }, { "2.1", "bn3" },
	{ "3.0", "conv_pwl" },	    { "3.1", "bn3" },		  { "2", "conv_pwl" },	 { "3", "bn3" },
};
/* The blocks of the first stage expand nothing. */
static const struct rule first_rules[] = {
	{ "0.0", "conv_dw" }, { "0.1", "bn1" },	    { "1.fc1", "se.conv_reduce" }, { "1.fc2", "se.conv_expand" },
	{ "1.0", "conv_pw" }, { "1.1", "bn2" },	    { "2.0", "conv_pw" },	   { "2.1", "bn2" },
	{ "1", "conv_pw" },   { "2", "bn2" },
};

/* The channels of a row's blocks. */
static int channels(const struct row *r)
{
	return r->layer == INVERTED_V2 ? r->v[1] : r->v[2];
}

/* timm counts blocks by stages of one width, torchvision MobileNets' one by one. */
static void find_stage(const struct arch *a, int row, int *stage, int *block)
{
	*stage = *block = 0;
	for (int i = 2; i <= row; i++) {
		bool next = a->rows[i].layer == MOBILE_LAST || channels(&a->rows[i]) != channels(&a->rows[i - 1]);

		*stage += next;
		*block = next ? 0 : *block + 1;
	}
}

static int translate_block(const char *part, int length, int stage, int block, const char *last, char *out, size_t size)
{
	const struct rule *rules = stage ? block_rules : first_rules;
	int count = stage ? ARRAY_SIZE(block_rules) : ARRAY_SIZE(first_rules);
	const char *theirs = follow(rules, count, part, length);

	return theirs ? format(out, size, "blocks.%d.%d.%s.%s", stage, block, theirs, last) : -1;
}

/* Stem and last convolution: "features.0.0", "features.0.1". MobileNetV3's last one is a stage of its own. */
static int translate_conv(const struct arch *a, int row, const char *last, bool norm, char *out, size_t size)
{
	int stage, block;

	if (row == 0)
		return format(out, size, "%s.%s", norm ? "bn1" : "conv_stem", last);
	if (a->rows[1].layer != INVERTED)
		return format(out, size, "%s.%s", norm ? "bn2" : "conv_head", last);
	find_stage(a, row, &stage, &block);
	return format(out, size, "blocks.%d.0.%s.%s", stage, norm ? "bn1" : "conv", last);
}

static int translate_mobile(const struct arch *a, const char *name, char *out, size_t size)
{
	int row, block, stage, at = 0;
	const char *last;
	int length = split(name, &last);

	if (strncmp(name, "classifier.0.", 13) == 0)
		return format(out, size, "conv_head.%s", last);
	if (sscanf(name, "features.%d.%n", &row, &at) != 1 || !at || row < 0 || row >= a->count)
		return -1;
	if (a->rows[row].layer == MOBILE_STEM || a->rows[row].layer == MOBILE_LAST)
		return translate_conv(a, row, last, name[at] == '1', out, size);
	name += at;
	length -= at;
	at = 0;
	if (a->rows[row].layer == MBCONV) {
		stage = row - 1;
		if (sscanf(name, "%d.block.%n", &block, &at) != 1 || !at)
			return -1;
	} else {
		find_stage(a, row, &stage, &block);
		at = (int)strcspn(name, ".") + 1;   /* "block." or "conv." */
	}
	return at > length ? -1 : translate_block(name + at, length - at, stage, block, last, out, size);
}

/* --- DeiT by torchvision --- */

static const struct rule vit_rules[] = {
	{ "norm1", "ln_1" },		     { "norm2", "ln_2" },	  { "attn.qkv", "self_attention.in_proj" },
	{ "attn.proj", "self_attention.out_proj" }, { "mlp.fc1", "mlp.0" }, { "mlp.fc2", "mlp.3" },
};
static const struct rule vit_whole[] = {
	{ "cls_token", "class_token" },
	{ "pos_embed", "encoder.pos_embedding" },
	{ "patch_embed.proj.weight", "conv_proj.weight" },
	{ "patch_embed.proj.bias", "conv_proj.bias" },
	{ "norm.weight", "encoder.ln.weight" },
	{ "norm.bias", "encoder.ln.bias" },
};

static int translate_vit(const struct arch *a, const char *name, char *out, size_t size)
{
	const char *last, *theirs = follow(vit_whole, ARRAY_SIZE(vit_whole), name, (int)strlen(name));
	int block, at = 0, length = split(name, &last);

	(void)a;
	if (theirs)
		return format(out, size, "%s", theirs);
	if (sscanf(name, "blocks.%d.%n", &block, &at) != 1 || !at || at > length)
		return -1;
	theirs = follow(vit_rules, ARRAY_SIZE(vit_rules), name + at, length - at);
	if (!theirs)
		return -1;
	return format(out, size, "encoder.layers.encoder_layer_%d.%s%s%s", block, theirs,
		      strcmp(theirs, vit_rules[2].theirs) ? "." : "_", last);
}

/* --- families --- */

/* By the layer that an architecture begins with. */
static const struct family {
	int stem;
	const char *other;
	int (*translate)(const struct arch *a, const char *name, char *out, size_t size);
	double bn_eps;   /* 0: as ours */
} families[] = {
	{ MOBILE_STEM, "timm", translate_mobile, 1e-5 },
	{ VIT_PATCHES, "torchvision", translate_vit, 0 },
};

static const struct family *family_of(const struct arch *a)
{
	for (int i = 0; i < ARRAY_SIZE(families); i++)
		if (a->rows[0].layer == families[i].stem)
			return &families[i];
	return NULL;
}

const char *aliases_other(const struct arch *a)
{
	return family_of(a) ? family_of(a)->other : NULL;
}

int aliases_translate(const struct arch *a, const char *name, char *out, size_t size)
{
	return family_of(a) ? family_of(a)->translate(a, name, out, size) : -1;
}

double aliases_bn_eps(const struct arch *a)
{
	return family_of(a) && family_of(a)->bn_eps > 0 ? family_of(a)->bn_eps : a->bn_eps;
}

static const struct rule arch_rules[] = {
	{ "mobilenet_v2", "mobilenetv2_100" },
	{ "mobilenet_v3_small", "mobilenetv3_small_100" },
	{ "mobilenet_v3_large", "mobilenetv3_large_100" },
	{ "deit_tiny", "deit_tiny_patch16_224" },
	{ "deit_tiny", "vit_tiny_patch16_224" },
	{ "deit_small", "deit_small_patch16_224" },
	{ "deit_small", "vit_small_patch16_224" },
	{ "vit_base", "deit_base_patch16_224" },
	{ "vit_base", "vit_base_patch16_224" },
};

const struct arch *aliases_arch(const char *name)
{
	for (int i = 0; i < ARRAY_SIZE(arch_rules); i++)
		if (strcmp(arch_rules[i].theirs, name) == 0)
			return arch_find(arch_rules[i].ours);
	return arch_find(name);
}
