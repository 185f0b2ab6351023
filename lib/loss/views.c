#include "lib/loss/views.h"

int views_prepare(struct objective *o)
{
	struct views *v = o->room = xcalloc(1, sizeof(*v));
	size_t block;

	v->rows = 2 * o->rows;
	v->dim = (int)o->inputs[0].value.shape[1];
	block = (size_t)v->rows * v->dim * sizeof(float);
	v->u = xaligned(block);
	v->d = xaligned(block);
	v->pull = xaligned(block);
	v->norm = xaligned(v->rows * sizeof(float));
	v->weight = xaligned(v->rows * sizeof(float));
	v->own = xaligned(v->rows * sizeof(float));
	v->rank = xaligned(v->rows * sizeof(float));
	v->softmax = softmax_new(v->rows, v->rows, v->dim, 0);
	v->softmax->others = true;
	v->softmax->rank = v->rank;
	return objective_same_width(o);
}

void views_release(struct objective *o)
{
	struct views *v = o->room;

	softmax_free(v->softmax);
	free(v->u);
	free(v->d);
	free(v->pull);
	free(v->norm);
	free(v->weight);
	free(v->own);
	free(v->rank);
	free(v);
}

/* Where a view's rows begin. */
static size_t start(const struct objective *o, int view)
{
	return (size_t)view * o->rows * ((const struct views *)o->room)->dim;
}

void views_read(struct objective *o)
{
	struct views *v = o->room;

	for (int i = 0; i < 2; i++)
		unit_rows(tensor_f32(&o->inputs[i].value), o->rows, v->dim, v->u + start(o, i), v->norm + i * o->rows);
	memset(v->d, 0, (size_t)v->rows * v->dim * sizeof(float));
}

void views_contrast(struct objective *o, double t)
{
	struct views *v = o->room;

	softmax_run(v->softmax, v->u, NULL, v->u, v->u, t);
	softmax_mutual(v->softmax, v->u, v->weight, t, v->d);
}

void views_give(struct objective *o)
{
	struct views *v = o->room;

	unit_rows_backward(v->u, v->norm, v->rows, v->dim, v->d);
	for (int i = 0; i < 2; i++)
		memcpy(tensor_f32(&o->inputs[i].gradient), v->d + start(o, i), (size_t)o->rows * v->dim * sizeof(float));
}
