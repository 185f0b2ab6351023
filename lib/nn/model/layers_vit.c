/* layers_vit.c - the layers of vision transformers (Dosovitskiy et al. 2021; Touvron et al. 2021): names and shapes are timm's */
#include "lib/nn/model/build.h"

void build_vit_patches(struct builder *b, const int *v)
{
	const struct plan *plan = b->plan;
	int k = plan->net->config.small ? v[2] : v[1];

	if (plan->height % k || plan->width % k) {
		fail_code(EXIT_USAGE, "'%s' cuts images into patches of %dx%d: %dx%d is no multiple of that",
			  plan->net->arch->entry.name, k, k, plan->width, plan->height);
		b->failed = true;
	}
	build_conv(b, &(struct conv_spec){ .out = v[0], .k = k, .stride = k, .conv = "patch_embed.proj" });
	build_tokens(b, "cls_token", "pos_embed");
}

/* The class token of a node, beside what is being built. */
static int class_token(struct builder *b, int from)
{
	int at = b->at, token;

	b->at = from;
	build_token(b);
	token = b->at;
	b->at = at;
	return token;
}

/* x + attention(norm(x)), then x + mlp(norm(x)). Of the last block only the class token is used: only it is computed, from
 * where nothing else depends on the others. */
static void block(struct builder *b, int i, int blocks, int heads, int mlp)
{
	bool last = i == blocks - 1;
	double depth = blocks > 1 ? i / (double)(blocks - 1) : 1;
	const struct node *in = &b->plan->nodes[b->at];
	int from = b->at, width = in->c;

	build_layernorm(b, NAME("blocks.%d.norm1", i));
	build_linear(b, 3 * width, ACT_NONE, NAME("blocks.%d.attn.qkv", i));
	build_attention(b, heads, last ? 1 : in->w);
	if (last)
		from = class_token(b, from);
	build_linear(b, width, ACT_NONE, NAME("blocks.%d.attn.proj", i));
	build_drop_path(b, depth);
	build_sum(b, from, ACT_NONE);
	from = b->at;
	build_layernorm(b, NAME("blocks.%d.norm2", i));
	build_linear(b, mlp, ACT_GELU, NAME("blocks.%d.mlp.fc1", i));
	build_linear(b, width, ACT_NONE, NAME("blocks.%d.mlp.fc2", i));
	build_drop_path(b, depth);
	build_sum(b, from, ACT_NONE);
}

void build_vit_blocks(struct builder *b, const int *v)
{
	for (int i = 0; i < v[0]; i++)
		block(b, i, v[0], v[1], v[2]);
	build_layernorm(b, "norm");
}
