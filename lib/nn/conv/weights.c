/*
 * weights.c - convolutions' weights as factors of products
 *
 * Parameters are f32 and (kh, kw, in, out). A bf16 product needs them in bf16. The gradient of a convolution of stride 1 is a
 * convolution itself, of weights turned round, (kh, kw, out, in) with taps in reverse. Both are made once a forward pass and
 * serve its backward pass. AMX has factors of its own (conv_tiles.h).
 */
#include "lib/nn/conv/conv_tiles.h"

static bool is_narrow(const struct node *x)
{
	return x->op == OP_CONV && x->factor == BF16;
}

static bool is_turned(const struct net *net, const struct node *x)
{
	return x->in[0] >= 0 && (!x->whole.images || x->whole.turned) && convolves_back(x, &net->nodes[x->in[0]]);
}

/* Bytes of the weights as factors, and turned. */
static size_t factor_bytes(const struct net *net, const struct node *x)
{
	if (x->tiled)
		return conv_tiles_weights(x, &net->nodes[x->in[0]], false);
	return is_narrow(x) ? padded(x->weights * element_size(x->factor)) : 0;
}

static size_t turned_bytes(const struct net *net, const struct node *x)
{
	if (x->tiled)
		return conv_tiles_weights(x, &net->nodes[x->in[0]], true);
	return is_turned(net, x) ? padded(x->weights * element_size(x->factor)) : 0;
}

size_t weights_lay(const struct net *net, struct state *state, char *base, bool grad)
{
	size_t used = 0;

	for (int i = 1; i < net->count; i++) {
		size_t factor = factor_bytes(net, &net->nodes[i]), turned = grad ? turned_bytes(net, &net->nodes[i]) : 0;

		state[i].weight = base && factor ? base + used : NULL;
		used += factor;
		state[i].turned = base && turned ? base + used : NULL;
		used += turned;
	}
	return used;
}

#define SLICE 16384

static void narrow(const struct task *t, const struct node *x, void *to)
{
	const float *from = t->params + x->weight;

	for (int64_t i = (int64_t)SLICE * t->thread; i < x->weights; i += (int64_t)SLICE * t->p->threads)
		t->net->kernels[BF16]->narrow(element_at(to, BF16, i), from + i, MIN(SLICE, x->weights - i));
}

#define EDGE 16   /* of the squares that are transposed at once */

/* to (n, m) = transpose of from (m, n). */
static void transpose(void *to, enum dtype e, const float *from, int m, int n, const struct kernels *k)
{
	float square[EDGE][EDGE];

	for (int j = 0; j < n; j += EDGE)
		for (int i = 0; i < m; i += EDGE) {
			int rows = MIN(EDGE, m - i), columns = MIN(EDGE, n - j);

			for (int a = 0; a < rows; a++)
				for (int b = 0; b < columns; b++)
					square[b][a] = from[(int64_t)(i + a) * n + j + b];
			for (int b = 0; b < columns; b++)
				k->narrow(element_at(to, e, (int64_t)(j + b) * m + i), square[b], rows);
		}
}

static void turn(const struct task *t, const struct node *x, int in, void *to)
{
	int taps = x->k * x->k;

	for (int i = t->thread; i < taps; i += t->p->threads)
		transpose(element_at(to, x->factor, (int64_t)(taps - 1 - i) * in * x->c), x->factor,
			  t->params + x->weight + (int64_t)i * in * x->c, in, x->c, t->net->kernels[x->factor]);
}

void weights_make(const struct task *t)
{
	const struct net *net = t->net;

	for (int i = 1; i < net->count; i++) {
		const struct state *s = &t->p->state[i];
		const struct node *x = &net->nodes[i], *in = &net->nodes[MAX(0, x->in[0])];

		if (x->tiled) {
			conv_tiles_pack(t, x, in, false, s->weight);
			if (s->turned)
				conv_tiles_pack(t, x, in, true, s->turned);
			continue;
		}
		if (s->weight)
			narrow(t, x, s->weight);
		if (s->turned)
			turn(t, x, in->c, s->turned);
	}
}
