/* run.c - forward and backward over the nodes: one parallel region an operation, what little is serial between them */
#include "lib/nn/engine.h"

#include <math.h>
#include <omp.h>

double *sums_of(const struct pass *p, int thread, int slot, int split)
{
	return p->sums + (((size_t)thread * 2 + slot) * p->net->config.bn_splits + split) * 2 * p->ldmax;
}

static void clear_sums(struct pass *p)
{
	memset(p->sums, 0, sizeof(double) * p->threads * 4 * p->net->config.bn_splits * p->ldmax);
}

/* Sum over threads, in their order, of channel c of row r. */
static double total(const struct pass *p, int slot, int split, int at)
{
	double s = 0;

	for (int t = 0; t < p->threads; t++)
		s += sums_of(p, t, slot, split)[at];
	return s;
}

static struct task task_of(struct pass *p, int node, const float *params, int thread)
{
	const struct node *x = &p->net->nodes[node];

	return (struct task){ .net = p->net, .p = p, .x = x, .in = &p->net->nodes[x->in[0]], .id = node, .thread = thread,
		.n0 = (int)((int64_t)p->rows * thread / p->threads), .n1 = (int)((int64_t)p->rows * (thread + 1) / p->threads),
		.params = params, .scratch = p->scratch[thread], .vectors = p->scratch[thread] + p->scratch_size };
}

/* --- scale and shift of every node --- */

static void set_channel(struct state *s, int64_t at, float gamma, float beta, double mean, double istd)
{
	s->scale[at] = (float)(gamma * istd);
	s->shift[at] = (float)(beta - gamma * mean * istd);
	s->xscale[at] = (float)istd;
	s->xshift[at] = (float)(-mean * istd);
}

/* From the batch: the statistics of each split; running ones move by their mean over the splits (variance unbiased, as PyTorch). */
static void norm_from_batch(struct pass *p, int node, const float *params, float *buffers)
{
	const struct net *net = p->net;
	const struct node *x = &net->nodes[node];
	int splits = net->config.bn_splits;

	for (int c = 0; c < x->c; c++) {
		double mean_sum = 0, var_sum = 0;

		for (int s = 0; s < splits; s++) {
			double n = (double)(split_start(p, s + 1) - split_start(p, s)) * x->h * x->w;
			double mean = n ? total(p, 0, s, c) / n : 0, var = n ? fmax(0, total(p, 0, s, x->ld + c) / n - mean * mean) : 0;

			set_channel(&p->state[node], (int64_t)s * x->ld + c, params[x->gamma + c], params[x->beta + c], mean,
				    1 / sqrt(var + net->bn_eps));
			mean_sum += mean;
			var_sum += var * n / fmax(1, n - 1);
		}
		buffers[x->mean + c] = (float)((1 - net->bn_momentum) * buffers[x->mean + c] + net->bn_momentum * mean_sum / splits);
		buffers[x->var + c] = (float)((1 - net->bn_momentum) * buffers[x->var + c] + net->bn_momentum * var_sum / splits);
	}
}

static void norm_from_running(struct pass *p, int node, const float *params, const float *buffers)
{
	const struct node *x = &p->net->nodes[node];

	for (int s = 0; s < p->net->config.bn_splits; s++)
		for (int c = 0; c < x->c; c++)
			set_channel(&p->state[node], (int64_t)s * x->ld + c, params[x->gamma + c], params[x->beta + c], buffers[x->mean + c],
				    1 / sqrt(buffers[x->var + c] + p->net->bn_eps));
}

static void set_bias(struct pass *p, int node, const float *params)
{
	const struct node *x = &p->net->nodes[node];

	for (int s = 0; s < p->net->config.bn_splits; s++)
		for (int c = 0; c < x->c; c++) {
			p->state[node].scale[(int64_t)s * x->ld + c] = 1;
			p->state[node].shift[(int64_t)s * x->ld + c] = params[x->bias + c];
		}
}

/* --- forward --- */

/* The value of a node, channels without padding, rows in the views' order. */
static void copy_output(struct pass *p, int node, float *out)
{
	const struct node *x = &p->net->nodes[node];
	int64_t pixels = (int64_t)x->h * x->w;

#pragma omp parallel num_threads(p->threads)
	{
		struct task t = task_of(p, node, NULL, omp_get_thread_num());

		for (int n = t.n0; n < t.n1; n++) {
			float *to = out + (p->order ? p->order[n] : n) * pixels * x->c;

			for (int64_t i = 0; i < pixels; i++, to += x->c) {
				struct affine f = affine_of(&t, node, split_of(p, n));

				p->net->kernels->read(t.vectors, raw_at(&t, node, n, 0) + i * x->ld, 1, x->ld, &f, NULL, x->act, false);
				memcpy(to, t.vectors, x->c * sizeof(float));
			}
		}
	}
}

static void forward_node(struct pass *p, int node, const float *params, float *buffers)
{
	const struct node *x = &p->net->nodes[node];
	bool batch = x->gamma >= 0 && p->mode != NET_EVAL;

	if (batch)
		clear_sums(p);
#pragma omp parallel num_threads(p->threads)
	{
		struct task t = task_of(p, node, params, omp_get_thread_num());

		ops[x->op]->forward(&t);
	}
	if (batch)
		norm_from_batch(p, node, params, buffers);
	else if (x->gamma >= 0)
		norm_from_running(p, node, params, buffers);
	else if (x->bias >= 0)
		set_bias(p, node, params);
}

void net_forward(const struct net *net, struct pass *p, const float *params, float *buffers, const uint8_t *views, const int32_t *order,
		 int rows, enum net_mode mode)
{
	if (rows < 1 || rows > p->batch || p->net != net)
		bug("forward of %d rows in a pass for %d", rows, p->batch);
	if (mode == NET_TRAIN && !p->grad)
		bug("a pass without gradients cannot train");
	p->rows = rows;
	p->mode = mode;
	p->views = views;
	p->order = order;
	for (int i = 1; i < net->count; i++) {
		forward_node(p, i, params, buffers);
		if (i == net->feature)
			copy_output(p, i, p->feature);
	}
	if (net->head >= 0)
		copy_output(p, net->head, p->head);
}

/* --- backward --- */

/* A gradient from outside becomes the first part of a node's d; NULL: zeros. */
static void start_gradient(struct pass *p, int node, const float *from)
{
	const struct node *x = &p->net->nodes[node];
	int64_t pixels = (int64_t)x->h * x->w;

	memset(p->state[node].d, 0, (size_t)p->rows * pixels * x->ld * sizeof(float));
	for (int n = 0; from && n < p->rows; n++) {
		const float *row = from + (p->order ? p->order[n] : n) * pixels * x->c;

		for (int64_t i = 0; i < pixels; i++)
			memcpy(p->state[node].d + (n * pixels + i) * x->ld, row + i * x->c, x->c * sizeof(float));
	}
}

/* Column sums of dz and dz*xhat of a gated or pooled node, from its sums over each image. */
static void image_sums(const struct task *t, int n, double *out)
{
	const struct node *x = t->x;
	const struct state *s = &t->p->state[t->id];
	const float *d = x->stored ? s->images + (int64_t)n * 2 * x->ld : NULL, *slopes = s->slopes + (int64_t)n * 2 * x->ld;
	float *gate = t->vectors, *pooled = gate + x->ld;

	image_vectors(t, n, gate, pooled);
	for (int c = 0; c < x->c; c++) {
		double g = gate[c], q = pooled[c];

		out[c] += (d ? g * d[c] : 0) + (x->pool >= 0 ? q * slopes[c] : 0);
		out[x->ld + c] += (d ? g * d[x->ld + c] : 0) + (x->pool >= 0 ? q * slopes[x->ld + c] : 0);
	}
}

/* From the column sums: gradients of gamma, beta or bias, and what read_gradient() needs. slot: where the sums are. */
static void settle(struct pass *p, int node, int slot, const float *params, float *grads)
{
	const struct node *x = &p->net->nodes[node];
	const struct state *st = &p->state[node];

	for (int s = 0; s < p->net->config.bn_splits; s++) {
		double n = (double)(split_start(p, s + 1) - split_start(p, s)) * x->h * x->w;

		for (int c = 0; c < x->c; c++) {
			double dz = total(p, slot, s, c), dots, istd, scale;
			int64_t at = (int64_t)s * x->ld + c;
			float *out = st->c + (int64_t)s * 3 * x->ld + c;

			if (x->bias >= 0)
				grads[x->bias + c] += (float)dz;
			if (x->gamma < 0)
				continue;
			dots = total(p, slot, s, x->ld + c);
			grads[x->beta + c] += (float)dz;
			grads[x->gamma + c] += (float)dots;
			if (n == 0)
				continue;
			istd = st->xscale[at];
			scale = params[x->gamma + c] * istd;
			out[0] = (float)scale;
			out[x->ld] = (float)(-scale * istd * dots / n);
			out[2 * x->ld] = (float)(-scale * (dz + st->xshift[at] * dots) / n);
		}
	}
}

static bool deferred(const struct node *x)
{
	return x->pool >= 0 || x->gated >= 0;
}

/* Sums of a gated or pooled node: only now are the gradients of its gate and its mean known. */
static void settle_deferred(struct pass *p, int node, const float *params, float *grads)
{
	clear_sums(p);
#pragma omp parallel num_threads(p->threads)
	{
		struct task t = task_of(p, node, params, omp_get_thread_num());

		for (int n = t.n0; n < t.n1; n++)
			image_sums(&t, n, sums_of(p, t.thread, 0, split_of(p, n)));
	}
	settle(p, node, 0, params, grads);
}

/* Adds the other threads' weight gradients to the first's, each thread a slice. */
static void reduce_weights(struct pass *p, const struct node *x, int thread, float *grad)
{
	int64_t from = x->weights * thread / p->threads, to = x->weights * (thread + 1) / p->threads;

	for (int t = 1; t < p->threads; t++)
		p->net->kernels->add(grad + from, p->partial[t] + from, to - from);
}

static void backward_node(struct pass *p, int node, const float *params, float *grads)
{
	const struct net *net = p->net;
	const struct node *x = &net->nodes[node];

	if (deferred(x))
		settle_deferred(p, node, params, grads);
	clear_sums(p);
#pragma omp parallel num_threads(p->threads)
	{
		struct task t = task_of(p, node, params, omp_get_thread_num());

		t.weight_grad = t.thread ? p->partial[t.thread] : grads + x->weight;
		if (t.thread && x->weights)
			memset(t.weight_grad, 0, x->weights * sizeof(float));
		ops[x->op]->backward(&t);
		if (x->weights && p->threads > 1) {
#pragma omp barrier
			reduce_weights(p, x, t.thread, grads + x->weight);
		}
	}
	for (int s = 0; s < 2 && x->in[s] >= 0; s++)
		if (x->last[s] && !deferred(&net->nodes[x->in[s]]) && p->state[x->in[s]].scale)
			settle(p, x->in[s], s, params, grads);
	if (x->gate >= 0)
		settle(p, x->gate, 1, params, grads);
}

/* The gradient of an output that nothing inside reads is complete at once. */
static void start_output(struct pass *p, int node, const float *from, const float *params, float *grads)
{
	start_gradient(p, node, from);
	if (p->net->nodes[node].last_reader > node)
		return;
	clear_sums(p);
#pragma omp parallel num_threads(p->threads)
	{
		struct task t = task_of(p, node, params, omp_get_thread_num());

		for (int n = t.n0; n < t.n1; n++)
			finish_images(&t, 0, node, n, 1);
	}
	if (p->state[node].scale)
		settle(p, node, 0, params, grads);
}

void net_backward(const struct net *net, struct pass *p, const float *params, const float *d_feature, const float *d_head, float *grads)
{
	if (p->mode != NET_TRAIN || p->net != net)
		bug("backward without a forward pass in training mode");
	start_output(p, net->feature, d_feature, params, grads);
	if (net->head >= 0)
		start_output(p, net->head, d_head, params, grads);
	for (int i = net->count - 1; i > 0; i--)
		backward_node(p, i, params, grads);
}
