/*
 * run.c - forward and backward over the nodes: one parallel region each
 *
 * Every thread takes its images through all operations. Threads meet (a barrier) only where batch norm needs the column sums of
 * all: after a normalised node forward, after the last part of a normalised node's gradient backward. What follows from the sums
 * every thread computes for itself, after many have added up a share each. Sums and the parts of weight gradients have two buffers
 * used in turn: what was written before a meeting is read after it, and overwritten only after the next one.
 */
#include "lib/nn/engine.h"

#include <math.h>
#include <omp.h>

enum { FEW = 8 };   /* threads that add up everything sooner than they meet */

/* A weight gradient that waits for the next meeting to be added up. */
struct pending {
	int node;
	int64_t at;              /* in the threads' partial buffers */
};

struct worker {
	struct task t;
	float *buffers, *grads;
	int meetings;
	struct pending pending[NODES_MAX];
	int waiting;
	int64_t used;            /* of the partial buffer in turn */
};

/* --- workers --- */

static void open_worker(struct worker *w, struct pass *p, const float *params, float *buffers, float *grads)
{
	int thread = omp_get_thread_num();

	if (omp_get_num_threads() != p->threads)
		bug("%d threads where the pass was made for %d", omp_get_num_threads(), p->threads);
	w->t = (struct task){ .net = p->net, .p = p, .thread = thread, .n0 = (int)((int64_t)p->rows * thread / p->threads),
		.n1 = (int)((int64_t)p->rows * (thread + 1) / p->threads), .params = params, .scratch = p->scratch[thread],
		.vectors = (float *)(p->scratch[thread] + p->scratch_size) };
	w->buffers = thread ? NULL : buffers;
	w->grads = grads;
	w->meetings = w->waiting = 0;
	w->used = 0;
}

static void take_node(struct worker *w, int node)
{
	struct task *t = &w->t;

	t->id = node;
	t->x = &t->net->nodes[node];
	t->in = &t->net->nodes[MAX(0, t->x->in[0])];
	t->sums = thread_sums(t->p, w->meetings, t->thread);
}

static void clear_sums(struct worker *w)
{
	memset(w->t.sums, 0, sums_stride(w->t.p) * sizeof(double));
}

/* Sum over threads, in their order, of what they wrote before the last meeting_of_sums(). */
static double total(const struct worker *w, int slot, int split, int at)
{
	const struct pass *p = w->t.p;
	double s = 0;

	for (int t = 0; t < (p->threads > FEW ? 1 : p->threads); t++)
		s += sums_at(p, thread_sums(p, w->meetings - 1, t), slot, split)[at];
	return s;
}

/* What this thread's time since its last word was spent on; METER_NODE: on the node at work. */
static void spent(const struct worker *w, enum meter_row row)
{
	meter_mark(w->t.p->meter, w->t.thread, row == METER_NODE ? row + w->t.id : row);
}

/* Adds the other threads' parts of n gradients to the first's, each thread a slice. */
static void add_parts(const struct worker *w, float *grad, int64_t at, int64_t n)
{
	const struct pass *p = w->t.p;
	int64_t from = n * w->t.thread / p->threads, to = n * (w->t.thread + 1) / p->threads;

	for (int t = 1; t < p->threads; t++)
		p->net->kernels[F32]->add(grad + from, p->partial[t] + at + from, to - from);
}

static void meet(struct worker *w)
{
	const struct net *net = w->t.net;

	spent(w, METER_NODE);
#pragma omp barrier
	spent(w, METER_THREADS);
	for (int i = 0; i < w->waiting; i++) {
		const struct node *x = &net->nodes[w->pending[i].node];

		add_parts(w, w->grads + x->weight, w->pending[i].at, x->weights);
		if (x->bias >= 0)
			add_parts(w, w->grads + x->bias, w->pending[i].at + x->weights, x->c);
	}
	w->waiting = 0;
	w->used = 0;
	w->meetings++;
	spent(w, METER_PARTS);
}

/* A meeting after which total() can be asked for. Of many threads each adds up a slice of the columns into the first one's. */
static void meeting_of_sums(struct worker *w)
{
	const struct pass *p = w->t.p;
	size_t stride = sums_stride(p), from = stride * w->t.thread / p->threads, to = stride * (w->t.thread + 1) / p->threads;
	double *first = thread_sums(p, w->meetings, 0);

	meet(w);
	if (p->threads <= FEW)
		return;
	for (int t = 1; t < p->threads; t++)
		for (size_t i = from; i < to; i++)
			first[i] += first[t * stride + i];
#pragma omp barrier
	spent(w, METER_THREADS);
}

static int64_t split_pixels(const struct pass *p, const struct node *x, int split)
{
	return (int64_t)(split_start(p, split + 1) - split_start(p, split)) * x->h * x->w;
}

/* --- scale and shift of every node --- */

static void set_channel(const struct worker *w, int split, int c, double mean, double istd)
{
	const struct node *x = w->t.x;
	const struct state *s = &w->t.p->state[w->t.id];
	int64_t at = (int64_t)split * x->ld + c;
	float gamma = w->t.params[x->gamma + c], beta = w->t.params[x->beta + c];

	own(&w->t, s->scale)[at] = (float)(gamma * istd);
	own(&w->t, s->shift)[at] = (float)(beta - gamma * mean * istd);
	own(&w->t, s->xscale)[at] = (float)istd;
	own(&w->t, s->xshift)[at] = (float)(-mean * istd);
}

/* From the batch: the statistics of each split; running ones move by their mean over the splits (variances unbiased). */
static void norm_from_batch(const struct worker *w)
{
	const struct net *net = w->t.net;
	const struct node *x = w->t.x;
	int splits = net->config.bn_splits;
	double m = net->bn_momentum;

	for (int c = 0; c < x->c; c++) {
		double means = 0, vars = 0;

		for (int s = 0; s < splits; s++) {
			double n = (double)split_pixels(w->t.p, x, s), mean = n ? total(w, 0, s, c) / n : 0;
			double var = n ? fmax(0, total(w, 0, s, x->ld + c) / n - mean * mean) : 0;

			set_channel(w, s, c, mean, 1 / sqrt(var + net->bn_eps));
			means += mean / splits;
			vars += var * n / fmax(1, n - 1) / splits;
		}
		if (w->buffers) {
			w->buffers[x->mean + c] = (float)((1 - m) * w->buffers[x->mean + c] + m * means);
			w->buffers[x->var + c] = (float)((1 - m) * w->buffers[x->var + c] + m * vars);
		}
	}
}

static void norm_from_running(const struct worker *w, const float *buffers)
{
	const struct node *x = w->t.x;

	for (int s = 0; s < w->t.net->config.bn_splits; s++)
		for (int c = 0; c < x->c; c++)
			set_channel(w, s, c, buffers[x->mean + c], 1 / sqrt(buffers[x->var + c] + w->t.net->bn_eps));
}

static void set_bias(const struct worker *w)
{
	const struct node *x = w->t.x;
	const struct state *st = &w->t.p->state[w->t.id];

	for (int s = 0; s < w->t.net->config.bn_splits; s++)
		for (int c = 0; c < x->c; c++) {
			own(&w->t, st->scale)[(int64_t)s * x->ld + c] = 1;
			own(&w->t, st->shift)[(int64_t)s * x->ld + c] = w->t.params[x->bias + c];
		}
}

/* --- forward --- */

/* The value of the node at work, channels without padding, rows in the views' order. */
static void copy_output(const struct task *t, float *out)
{
	const struct node *x = t->x;

	for (int n = t->n0; n < t->n1; n++) {
		float *to = out + (t->p->order ? t->p->order[n] : n) * (int64_t)x->h * x->w * x->c;

		for (int y = 0; y < x->h; y++) {
			read_value(t, t->id, -1, n, 1, y, y + 1, t->scratch, F32, x->w);
			for (int i = 0; i < x->w; i++, to += x->c)
				memcpy(to, (float *)t->scratch + (int64_t)i * x->ld, x->c * sizeof(float));
		}
	}
}

static void forward_node(struct worker *w, int node, const float *buffers)
{
	struct pass *p = w->t.p;
	const struct net *net = w->t.net;

	take_node(w, node);
	if (w->t.x->gamma >= 0)
		clear_sums(w);
	ops[w->t.x->op]->forward(&w->t);
	if (w->t.x->bias >= 0)
		set_bias(w);
	if (w->t.x->gamma >= 0) {
		meeting_of_sums(w);
		if (p->mode == NET_EVAL)
			norm_from_running(w, buffers);
		else
			norm_from_batch(w);
		spent(w, METER_NORM);
	}
	if (node == net->feature)
		copy_output(&w->t, p->feature);
	if (node == net->head)
		copy_output(&w->t, p->head);
	spent(w, METER_NODE);
}

void net_forward(const struct net *net, struct pass *p, const float *params, float *buffers, const uint8_t *views,
		 const int32_t *order, int rows, enum net_mode mode)
{
	bool make = p->factors->size && (p->own || !p->factors->fresh);

	if (rows < 1 || rows > p->batch || p->net != net)
		bug("forward of %d rows in a pass for %d", rows, p->batch);
	if (mode == NET_TRAIN && !p->grad)
		bug("a pass without gradients cannot train");
	p->rows = rows;
	p->mode = mode;
	p->views = views;
	p->order = order;
	meter_open(p->meter, mode == NET_KEY ? METER_KEY : METER_FORWARD, rows);
#pragma omp parallel num_threads(p->threads)
	{
		struct worker w;

		open_worker(&w, p, params, buffers, NULL);
		if (make) {
			weights_make(&w.t);
			spent(&w, METER_FACTORS);
#pragma omp barrier
			spent(&w, METER_THREADS);
		}
		for (int i = 1; i < net->count; i++)
			forward_node(&w, i, buffers);
	}
	p->factors->fresh = true;
	meter_close(p->meter);
}

/* --- backward --- */

/* From the column sums of the node in slot: gradients of gamma and beta, and what read_gradient() needs. */
static void settle(const struct worker *w, int node, int slot)
{
	const struct pass *p = w->t.p;
	const struct node *x = &p->net->nodes[node];
	const struct state *st = &p->state[node];

	for (int s = 0; s < p->net->config.bn_splits; s++) {
		double n = (double)split_pixels(p, x, s);

		for (int c = 0; c < x->c && n; c++) {
			int64_t at = (int64_t)s * x->ld + c;
			double dz = total(w, slot, s, c), dots = total(w, slot, s, x->ld + c), istd = own(&w->t, st->xscale)[at];
			double scale = w->t.params[x->gamma + c] * istd;
			float *out = own(&w->t, st->c) + (int64_t)s * 3 * x->ld + c;

			out[0] = (float)scale;
			out[x->ld] = (float)(-scale * istd * dots / n);
			out[2 * x->ld] = (float)(-scale * (dz + own(&w->t, st->xshift)[at] * dots) / n);
			if (w->t.thread == 0) {
				w->grads[x->beta + c] += (float)dz;
				w->grads[x->gamma + c] += (float)dots;
			}
		}
	}
}

/* Sums of a gated or pooled node: only now are the gradients of its gate and its mean known. */
static void settle_deferred(struct worker *w)
{
	clear_sums(w);
	for (int n = w->t.n0; n < w->t.n1; n++)
		add_image_sums(&w->t, n);
	meeting_of_sums(w);
	settle(w, w->t.id, 0);
	spent(w, METER_NORM);
	take_node(w, w->t.id);
}

/* Where this thread's part of the weight's gradient goes: the first thread adds to the gradient itself. */
static void open_gradients(struct worker *w)
{
	struct task *t = &w->t;
	struct pass *p = t->p;
	int64_t n = t->x->weights + t->x->ld;

	if (!t->x->weights)
		return;
	if (w->used + n > (int64_t)p->partial_size) {
		meet(w);
		take_node(w, t->id);
	}
	t->weight_grad = w->grads + t->x->weight;
	t->bias_grad = w->grads + t->x->bias;
	w->pending[w->waiting++] = (struct pending){ t->id, (w->meetings % 2) * p->partial_size + w->used };
	if (t->thread) {
		t->weight_grad = p->partial[t->thread] + w->pending[w->waiting - 1].at;
		t->bias_grad = t->weight_grad + t->x->weights;
		memset(t->weight_grad, 0, n * sizeof(float));
	}
	w->used += (n + LANES - 1) / LANES * LANES;
}

static void backward_node(struct worker *w, int node)
{
	const struct node *x;

	take_node(w, node);
	x = w->t.x;
	if (deferred(x))
		settle_deferred(w);
	open_gradients(w);
	if (x->complete[0] || x->complete[1])
		clear_sums(w);
	ops[x->op]->backward(&w->t);
	spent(w, METER_NODE);
	if (x->complete[0] || x->complete[1])
		meeting_of_sums(w);
	for (int s = 0; s < 2; s++)
		if (x->complete[s])
			settle(w, x->in[s], s);
	spent(w, METER_NORM);
}

/* A gradient from outside (NULL: zeros) is the first part of a node's d, and the only one where nothing inside reads the node. */
static void start_output(struct worker *w, int node, const float *from)
{
	struct task *t = &w->t;
	int64_t pixels;

	take_node(w, node);
	clear_sums(w);
	pixels = (int64_t)t->x->h * t->x->w;
	for (int n = t->n0; n < t->n1; n++) {
		char *d = d_at(t, node, n, 0);
		const float *row = from ? from + (t->p->order ? t->p->order[n] : n) * pixels * t->x->c : NULL;

		memset(d, 0, pixels * t->x->ld * element_size(t->x->store));
		for (int64_t i = 0; row && i < pixels; i++)
			t->net->kernels[t->x->store]->narrow(element_at(d, t->x->store, i * t->x->ld), row + i * t->x->c, t->x->c);
		if (t->x->last_reader == node)
			finish_images(t, 0, node, n, 1);
	}
	if (t->x->last_reader == node && t->x->gamma >= 0) {
		meeting_of_sums(w);
		settle(w, node, 0);
	}
}

void net_backward(const struct net *net, struct pass *p, const float *params, const float *d_feature, const float *d_head,
		  float *grads)
{
	if (p->mode != NET_TRAIN || p->net != net)
		bug("backward without a forward pass in training mode");
	meter_open(p->meter, METER_BACKWARD, p->rows);
#pragma omp parallel num_threads(p->threads)
	{
		struct worker w;

		open_worker(&w, p, params, NULL, grads);
		start_output(&w, net->feature, d_feature);
		if (net->head >= 0)
			start_output(&w, net->head, d_head);
		for (int i = net->count - 1; i > 0; i--)
			backward_node(&w, i);
		meet(&w);
	}
	meter_close(p->meter);
}
