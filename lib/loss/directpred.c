/*
 * directpred.c - BYOL with a linear predictor that is set, not trained (DirectPred, Tian et al. 2021, sec. 4)
 *
 *	C = mean of q q^T over the rows of both views,   F <- rho F + (1 - rho) C,   F = U diag(s) U^T
 *	W = U diag(sqrt(s+) + eps max sqrt(s+)) U^T,     s+ = max(s, 0)
 *	L = mean over both directions and the rows of 2 - 2 <u(W q0), u(k1)>
 *
 * The first F is (1 - rho) C. The gradient goes to q through W, not into F. eps_of=s: W's eigenvalues are sqrt(s+) + eps max s+.
 * W is made anew every so many steps, and kept between them.
 */
#include "lib/loss/cosines.h"
#include "lib/loss/unit.h"
#include "lib/tensor/gemm.h"

#include <math.h>

const struct param directpred_params[] = {
	{ "rho", 0.3, 0, 1, "share of F that stays", NULL },
	{ "eps", 0.1, 0, 10, "what W's eigenvalues are raised by, as a share of the greatest", NULL },
	{ "every", 1, 1, 1e6, "steps between two predictors", NULL },
	{ "eps_of", 0, 0, 0, "the greatest of what: root, of the roots of F's eigenvalues; s, of these", "root" },
	{ NULL, 0, 0, 0, NULL, NULL },
};

enum { F, W, STEPS };            /* state */
enum { Q, K = 2 };               /* q0 q1 k0 k1 */

struct directpred {
	bool of_root;
	double *u, *s;           /* (dim, dim) and (dim): eigenvectors in rows, eigenvalues */
	float *scaled;           /* (dim, dim) */
	float *p, *d;            /* (n, dim): predictions, and their gradient */
	float *target, *norm;    /* (n, dim), (n) */
};

int directpred_prepare(struct objective *o)
{
	int64_t dim = o->inputs[Q].value.shape[1];
	size_t block = (size_t)o->rows * dim * sizeof(float);
	struct directpred *x = o->room = xcalloc(1, sizeof(*x));
	int of = objective_word(o, "eps_of", "root s");

	if (of < 0 || objective_same_width(o) < 0)
		return -1;
	if (dim > 4096)
		return fail_code(EXIT_USAGE,
				 "loss 'directpred' takes %lld eigenvectors a step: give encode a head of at most 4096",
				 (long long)dim);
	x->of_root = of == 0;
	objective_add_state(o, "loss.f", F32, 2, (int64_t[]){ dim, dim });
	objective_add_state(o, "loss.w", F32, 2, (int64_t[]){ dim, dim });
	objective_add_state(o, "loss.steps", I64, 1, (int64_t[]){ 1 });
	x->u = xaligned(dim * dim * sizeof(double));
	x->s = xaligned(dim * sizeof(double));
	x->scaled = xaligned(dim * dim * sizeof(float));
	x->p = xaligned(block);
	x->d = xaligned(block);
	x->target = xaligned(block);
	x->norm = xaligned(o->rows * sizeof(float));
	return 0;
}

void directpred_release(struct objective *o)
{
	struct directpred *x = o->room;

	free(x->u);
	free(x->s);
	free(x->scaled);
	free(x->p);
	free(x->d);
	free(x->target);
	free(x->norm);
	free(x);
}

double directpred_expected(const struct objective *o)
{
	(void)o;
	return 2;
}

static void average(struct objective *o)
{
	int n = o->rows, dim = (int)o->inputs[Q].value.shape[1];
	float *f = tensor_f32(&o->state[F]), rho = (float)choice_value(&o->choice, "rho");

	for (int view = 0; view < 2; view++) {
		const float *q = tensor_f32(&o->inputs[Q + view].value);

		gemm(true, false, dim, dim, n, (1 - rho) / (2 * n), q, dim, q, dim, view ? 1 : rho, f, dim);
	}
}

/* W from F. 0, or -1 after fail(). */
static int set_predictor(struct objective *o)
{
	struct directpred *x = o->room;
	int dim = (int)o->inputs[Q].value.shape[1];
	double eps = choice_value(&o->choice, "eps"), most = 0;
	const float *f = tensor_f32(&o->state[F]);
	float *w = tensor_f32(&o->state[W]);

	for (int i = 0; i < dim; i++)
		for (int j = 0; j < dim; j++)
			x->u[(size_t)i * dim + j] = ((double)f[(size_t)i * dim + j] + f[(size_t)j * dim + i]) / 2;
	if (gemm_eigen(dim, x->u, x->s) != 0)
		return fail("step %lld: no eigenvectors of the heads' correlation are found: try a lower learning rate",
			    (long long)o->step + 1);
	for (int i = 0; i < dim; i++)
		most = MAX(most, x->s[i]);
	for (int i = 0; i < dim; i++) {
		double s = MAX(x->s[i], 0), root = sqrt(s) + eps * (x->of_root ? sqrt(most) : most);

		for (int c = 0; c < dim; c++) /* rows by the root of what they are to have in U diag U^T */
			x->scaled[(size_t)i * dim + c] = (float)(sqrt(root) * x->u[(size_t)i * dim + c]);
	}
	gemm(true, false, dim, dim, dim, 1, x->scaled, dim, x->scaled, dim, 0, w, dim);
	return 0;
}

/* The mean cosine of view's predictions and the other view's key; weight times its gradient goes to q. */
static double predict(struct objective *o, int view, double weight)
{
	struct directpred *x = o->room;
	int n = o->rows, dim = (int)o->inputs[Q].value.shape[1];
	const float *w = tensor_f32(&o->state[W]);
	double sum;

	gemm(false, false, n, dim, dim, 1, tensor_f32(&o->inputs[Q + view].value), dim, w, dim, 0, x->p, dim); /* W = W^T */
	unit_rows(tensor_f32(&o->inputs[K + 1 - view].value), n, dim, x->target, x->norm);
	memset(x->d, 0, (size_t)n * dim * sizeof(float));
	sum = unit_cosines(x->p, x->target, n, dim, weight / n, x->d);
	gemm(false, false, n, dim, dim, 1, x->d, dim, w, dim, 0, tensor_f32(&o->inputs[Q + view].gradient), dim);
	return sum / n;
}

int directpred_evaluate(struct objective *o)
{
	int64_t *steps = tensor_i64(&o->state[STEPS]);
	double cosines = 0;

	average(o);
	if (*steps % (int64_t)choice_value(&o->choice, "every") == 0 && set_predictor(o) < 0)
		return -1;
	++*steps;
	for (int view = 0; view < 2; view++)
		cosines += predict(o, view, -1);
	objective_set(o, "loss", 2 - cosines);
	return 0;
}
