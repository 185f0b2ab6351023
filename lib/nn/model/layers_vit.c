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
	if (v[3])
		build_dropout(b);
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

/* What ends a branch, PREFIX.NAME: a layer of the tokens' width, dropout where the row has it, stochastic depth, the sum. */
static void end_branch(struct builder *b, const int *v, int from, double depth, const char *name)
{
	build_linear(b, b->plan->nodes[from].c, ACT_NONE, true, name);
	if (v[5])
		build_dropout(b);
	build_drop_path(b, depth);
	build_sum(b, from, ACT_NONE);
}

/* x + attention(norm(x)), then x + mlp(norm(x)). Of the last block only the class token is used: only it is computed, from
 * where nothing else depends on the others. */
static void block(struct builder *b, int i, const int *v)
{
	bool last = i == v[0] - 1;
	double depth = v[0] > 1 ? i / (double)(v[0] - 1) : 1;
	int from = b->at, tokens = b->plan->nodes[b->at].w;

	build_layernorm(b, NAME("blocks.%d.norm1", i));
	build_linear(b, 3 * v[3], ACT_NONE, v[4], NAME("blocks.%d.attn.qkv", i));
	build_attention(b, v[1], last ? 1 : tokens);
	if (last)
		from = class_token(b, from);
	end_branch(b, v, from, depth, NAME("blocks.%d.attn.proj", i));
	from = b->at;
	build_layernorm(b, NAME("blocks.%d.norm2", i));
	build_linear(b, v[2], ACT_GELU, true, NAME("blocks.%d.mlp.fc1", i));
	if (v[5])
		build_dropout(b);
	end_branch(b, v, from, depth, NAME("blocks.%d.mlp.fc2", i));
}

void build_vit_blocks(struct builder *b, const int *v)
{
	for (int i = 0; i < v[0]; i++)
		block(b, i, v);
	build_layernorm(b, "norm");
}
