/*
 * crd.c - contrastive representation distillation (CRD, Tian et al. 2020, eq. 10 and 17 to 19), against queues
 *
 *	a = u(Ws q0 + bs), b = u(Wt t0 + bt)            layers of its own; project=0: a = u(q0), b = u(t0)
 *	h(x, y) = exp(x.y / t) / Z,   c = K / M         M: images of the data set
 *	l(x, y, queue) = -log(h(x, y) / (h(x, y) + c)) - sum over the queue of log(c / (h(x, key) + c))
 *	L = mean of l(a, sg b, teachers) + mean of l(b, sg a, students)
 *
 * Its authors keep a row of every image where this has queues of K, as MoCo; Z, one for each direction, is K times the mean of
 * exp over the first batch's negatives, and stays. The layers move by SGD with the step's rate, momentum 0.9 and weight decay
 * 1e-4. No gradient goes to t0.
 */
#include "lib/base/rng.h"
#include "lib/loss/loss.h"
#include "lib/loss/queue.h"
#include "lib/loss/unit.h"
#include "lib/tensor/gemm.h"

#include <math.h>

const struct param crd_params[] = {
	{ "t", 0.07, 0.02, 100, "temperature", NULL },
	{ "k", 16384, 1, 1 << 26, "size of a queue, a multiple of the batch", NULL },
	{ "project", 128, 0, 65536, "width of the loss's own layers; 0: there are none", NULL },
	{ NULL, 0, 0, 0, NULL, NULL },
};

enum { Q, T, SIDES };                 /* student and teacher */
enum { QUEUE_Q, POINTER_Q, QUEUE_T, POINTER_T, Z, LAYER_Q, LAYER_T, VELOCITY_Q, VELOCITY_T };
enum { ROWS = 32, BLOCK = 512 };
static const double momentum = 0.9, decay = 1e-4;

struct crd {
	int dim;                          /* of what is compared */
	float *x[SIDES], *norm[SIDES];    /* unit rows (n, dim), their lengths */
	float *d;                         /* (n, dim) */
	float *grad;                      /* (dim, width + 1) */
	float *positive;                  /* (n) */
	double *loss;                     /* (n) */
};

static bool has_layers(const struct objective *o)
{
	return choice_value(&o->choice, "project") > 0;
}

/* PyTorch's default of a linear layer, the bias as one more column. */
static void draw_layer(struct tensor *w, uint64_t seed, int side)
{
	int columns = (int)w->shape[1];
	double bound = 1 / sqrt(columns - 1);

	for (int64_t i = 0; i < w->shape[0]; i++) {
		struct rng r = rng_at(seed, 1, (uint32_t)i, (uint16_t)side, RNG_INIT);

		for (int c = 0; c < columns; c++)
			tensor_f32(w)[i * columns + c] = (float)rng_between(&r, -bound, bound);
	}
}

static void add_layers(struct objective *o, int64_t dim)
{
	static const char *const names[] = { "loss.student", "loss.teacher", "loss.student_velocity", "loss.teacher_velocity" };
	int64_t widest = 0;

	for (int i = 0; i < 2 * SIDES; i++) {
		int64_t columns = o->inputs[i % SIDES].value.shape[1] + 1;
		struct tensor *w = objective_add_state(o, names[i], F32, 2, (int64_t[]){ dim, columns });

		widest = MAX(widest, columns);
		if (i < SIDES)
			draw_layer(w, o->seed, i);
	}
	((struct crd *)o->room)->grad = xaligned(dim * widest * sizeof(float));
}

int crd_prepare(struct objective *o)
{
	int64_t k = (int64_t)choice_value(&o->choice, "k");
	struct crd *x = o->room = xcalloc(1, sizeof(*x));

	if (queue_fits("crd", "k", k, o->rows) < 0 || (!has_layers(o) && objective_same_width(o) < 0))
		return -1;
	if (o->images < 1)
		return fail("loss 'crd' needs the number of images, and no stage in front says 'fact.samples'");
	x->dim = has_layers(o) ? (int)choice_value(&o->choice, "project") : (int)o->inputs[Q].value.shape[1];
	queue_add(o, "loss.queue", "loss.pointer", k, x->dim, 0);
	queue_add(o, "loss.teachers", "loss.teachers_pointer", k, x->dim, 1);
	objective_add_state(o, "loss.z", F32, 1, (int64_t[]){ SIDES });
	if (has_layers(o))
		add_layers(o, x->dim);
	for (int side = 0; side < SIDES; side++) {
		x->x[side] = xaligned((size_t)o->rows * x->dim * sizeof(float));
		x->norm[side] = xaligned(o->rows * sizeof(float));
	}
	x->d = xaligned((size_t)o->rows * x->dim * sizeof(float));
	x->positive = xaligned(o->rows * sizeof(float));
	x->loss = xaligned(o->rows * sizeof(double));
	return 0;
}

void crd_release(struct objective *o)
{
	struct crd *x = o->room;

	for (int side = 0; side < SIDES; side++) {
		free(x->x[side]);
		free(x->norm[side]);
	}
	free(x->d);
	free(x->grad);
	free(x->positive);
	free(x->loss);
	free(x);
}

int crd_accept(const struct objective *o)
{
	if (queue_accept(&o->state[POINTER_Q], &o->state[QUEUE_Q], o->rows) < 0)
		return -1;
	return queue_accept(&o->state[POINTER_T], &o->state[QUEUE_T], o->rows);
}

/* All are alike: every h is 1 / K. */
double crd_expected(const struct objective *o)
{
	double k = choice_value(&o->choice, "k"), h = 1 / k, c = k / (double)o->images;

	return 2 * (log1p(c / h) + k * log1p(h / c));
}

/* Unit rows of a side, through its layer. */
static void project(struct objective *o, int side)
{
	struct crd *x = o->room;
	int n = o->rows, width = (int)o->inputs[side].value.shape[1];
	const float *in = tensor_f32(&o->inputs[side].value);

	if (has_layers(o)) {
		const float *w = tensor_f32(&o->state[LAYER_Q + side]);

		for (int i = 0; i < n; i++)
			for (int c = 0; c < x->dim; c++)
				x->x[side][(size_t)i * x->dim + c] = w[(size_t)c * (width + 1) + width];
		gemm(false, true, n, x->dim, width, 1, in, width, w, width + 1, 1, x->x[side], x->dim);
		in = x->x[side];
	}
	unit_rows(in, n, x->dim, x->x[side], x->norm[side]);
}

/* Rows from..from+rows of a side against its queue, a tile at a time. each: what a tile is for. */
typedef void tile_fn(struct crd *x, float *s, int from, int rows, int width, const float *keys, double t, double z, double c);

static void walk(const struct objective *o, const float *rows, const struct tensor *queue, double z, double c, tile_fn *each)
{
	struct crd *x = o->room;
	int k = (int)queue->shape[0], dim = x->dim;

#pragma omp parallel for schedule(dynamic)
	for (int from = 0; from < o->rows; from += ROWS) {
		int count = MIN(ROWS, o->rows - from);
		float *s = xaligned(ROWS * BLOCK * sizeof(float));

		for (int j = 0; j < k; j += BLOCK) {
			const float *keys = tensor_f32(queue) + (size_t)j * dim;
			int width = MIN(BLOCK, k - j);

			gemm(false, true, count, width, dim, 1, rows + (size_t)from * dim, dim, keys, dim, 0, s, BLOCK);
			each(x, s, from, count, width, keys, choice_value(&o->choice, "t"), z, c);
		}
		free(s);
	}
}

/* Sums exp(s / t) of each row into loss. */
static void sum_tile(struct crd *x, float *s, int from, int rows, int width, const float *keys, double t, double z, double c)
{
	(void)keys, (void)z, (void)c;
	for (int i = 0; i < rows; i++)
		for (int j = 0; j < width; j++)
			x->loss[from + i] += exp(s[(size_t)i * BLOCK + j] / t);
}

/* Adds a tile's terms to loss, and their gradient for the rows to d. */
static void contrast_tile(struct crd *x, float *s, int from, int rows, int width, const float *keys, double t, double z, double c)
{
	float scale = (float)(1 / t), less = (float)log(z * c); /* h / c = exp(s / t - log(z c)) */

	for (int i = 0; i < rows; i++) {
		float *row = s + (size_t)i * BLOCK;
		double sum = 0;

		for (int j = 0; j < width; j++) {
			float h = expf(row[j] * scale - less);

			sum += log1pf(h);
			row[j] = h / (1 + h);
		}
		x->loss[from + i] += sum;
	}
	gemm(false, false, rows, x->dim, width, scale, s, BLOCK, keys, x->dim, 1, x->d + (size_t)from * x->dim, x->dim);
}

/* One direction: rows of a side against the other's of the same image and its queue. Value; the gradient for its rows in d. */
static double contrast(struct objective *o, int side, double c)
{
	struct crd *x = o->room;
	const struct tensor *queue = &o->state[side == Q ? QUEUE_T : QUEUE_Q];
	const float *other = x->x[1 - side];
	float *z = tensor_f32(&o->state[Z]) + side;
	double t = choice_value(&o->choice, "t"), sum = 0;
	int n = o->rows, dim = x->dim;

	memset(x->loss, 0, n * sizeof(*x->loss));
	if (*z == 0) {
		walk(o, x->x[side], queue, 0, 0, sum_tile);
		for (int i = 0; i < n; i++)
			sum += x->loss[i];
		*z = (float)(sum / n);
		memset(x->loss, 0, n * sizeof(*x->loss));
	}
	memset(x->d, 0, (size_t)n * dim * sizeof(float));
	walk(o, x->x[side], queue, *z, c, contrast_tile);
	unit_dots(x->x[side], other, n, dim, x->positive);
	sum = 0;
	for (int i = 0; i < n; i++) {
		double h = exp(x->positive[i] / t - log(*z * c)), pull = 1 / (t * (1 + h));

		sum += x->loss[i] + log1p(1 / h);
		for (int k = 0; k < dim; k++)
			x->d[(size_t)i * dim + k] =
				(float)((x->d[(size_t)i * dim + k] - pull * other[(size_t)i * dim + k]) / n);
	}
	unit_rows_backward(x->x[side], x->norm[side], n, dim, x->d);
	return sum / n;
}

/* The gradient in d goes on to a side's input, where that is trained, and to its layer, which moves. */
static void go_back(struct objective *o, int side)
{
	struct crd *x = o->room;
	int n = o->rows, width = (int)o->inputs[side].value.shape[1], columns = width + 1;
	float *d = o->inputs[side].gradient.data ? tensor_f32(&o->inputs[side].gradient) : NULL, *w, *v;

	if (!has_layers(o)) {
		if (d)
			memcpy(d, x->d, (size_t)n * width * sizeof(float));
		return;
	}
	w = tensor_f32(&o->state[LAYER_Q + side]);
	v = tensor_f32(&o->state[VELOCITY_Q + side]);
	if (d)
		gemm(false, false, n, width, x->dim, 1, x->d, x->dim, w, columns, 0, d, width);
	gemm(true, false, x->dim, width, n, 1, x->d, x->dim, tensor_f32(&o->inputs[side].value), width, 0, x->grad, columns);
	for (int c = 0; c < x->dim; c++) {
		double bias = 0;

		for (int i = 0; i < n; i++)
			bias += x->d[(size_t)i * x->dim + c];
		x->grad[(size_t)c * columns + width] = (float)bias;
	}
	for (int64_t i = 0; i < (int64_t)x->dim * columns; i++) {
		v[i] = (float)(momentum * v[i] + x->grad[i] + decay * w[i]);
		w[i] -= (float)(o->lr * v[i]);
	}
}

int crd_evaluate(struct objective *o)
{
	struct crd *x = o->room;
	double c = (double)o->state[QUEUE_Q].shape[0] / (double)o->images, loss[SIDES];

	for (int side = 0; side < SIDES; side++)
		project(o, side);
	for (int side = 0; side < SIDES; side++) {
		loss[side] = contrast(o, side, c);
		go_back(o, side);
	}
	queue_push(&o->state[QUEUE_Q], &o->state[POINTER_Q], x->x[Q], o->rows);
	queue_push(&o->state[QUEUE_T], &o->state[POINTER_T], x->x[T], o->rows);
	objective_set(o, "loss", loss[Q] + loss[T]);
	objective_set(o, "student", loss[Q]);
	objective_set(o, "teacher", loss[T]);
	return 0;
}
