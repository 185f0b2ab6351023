/* The objective's contract with those who hold its tensors, the queue's shape, the rule of collapse. */
#include "lib/loss/loss.h"
#include "lib/loss/monitor.h"
#include "lib/loss/queue.h"
#include "lib/loss/softmax.h"
#include "lib/loss/unit.h"
#include "tests/check.h"

#include <math.h>

enum { ROWS = 8, DIM = 4 };

static float q[ROWS * DIM], k[ROWS * DIM];

static void fill(float *x, int salt)
{
	for (int i = 0; i < ROWS * DIM; i++)
		x[i] = sinf((float)(i * 7 + salt * 13 + 1));
}

static struct objective *make(const char *spelling)
{
	struct tensor given[] = {
		tensor_borrow("q0", F32, 2, (int64_t[]){ ROWS, DIM }, NULL),
		tensor_borrow("k1", F32, 2, (int64_t[]){ ROWS, DIM }, NULL),
	};
	struct choice c;

	return choice_parse(&c, &loss_table, spelling) < 0 ? NULL : objective_new(&c, given, 2, 5, 0);
}

static int step(struct objective *o, int salt)
{
	struct tensor batch[] = {
		tensor_borrow("k1", F32, 2, (int64_t[]){ ROWS, DIM }, k),
		tensor_borrow("q0", F32, 2, (int64_t[]){ ROWS, DIM }, q),
	};

	fill(q, salt);
	fill(k, salt + 100);
	return objective_step(o, salt, batch, 2);
}

/* What a send still reads must not change under it. */
static void test_shared(void)
{
	struct objective *o = make("moco:k=16");
	struct tensor gradient, queue;
	float before[ROWS * DIM], rows[16 * DIM];

	step(o, 1);
	gradient = tensor_share(&o->inputs[0].gradient);
	queue = tensor_share(&o->state[0]);
	memcpy(before, gradient.data, sizeof(before));
	memcpy(rows, queue.data, sizeof(rows));
	step(o, 2);
	check("a gradient that is held stays as it was", memcmp(before, gradient.data, sizeof(before)) == 0, "it changed");
	check("a state that is held stays as it was", memcmp(rows, queue.data, sizeof(rows)) == 0, "it changed");
	check("the next state goes on from it", memcmp(rows, o->state[0].data, ROWS * DIM * sizeof(float)) == 0 &&
	      memcmp(rows, o->state[0].data, sizeof(rows)) != 0, "the queue is another");
	tensor_release(&gradient);
	tensor_release(&queue);
	gradient = o->inputs[0].gradient;
	step(o, 3);
	check("a gradient that nobody holds is written in place", gradient.data == o->inputs[0].gradient.data, "it moved");
	objective_free(o);
}

static void test_refusals(void)
{
	struct tensor wrong = tensor_borrow("q0", F32, 2, (int64_t[]){ ROWS, DIM + 1 }, q);
	struct objective *o = make("moco:k=16");
	int64_t *pointer = tensor_i64(&o->state[1]);
	struct tensor state[2] = { o->state[0], tensor_new("loss.pointer", I64, 1, (int64_t[]){ 1 }) };

	check("a queue that is no multiple of the batch is misuse", !make("moco:k=20") && why_code() == EXIT_USAGE, "%s", why());
	check("a missing input is named", objective_step(o, 3, &wrong, 0) < 0 && strstr(why(), "'q0'"), "%s", why());
	check("another shape is named", objective_step(o, 3, &wrong, 1) < 0 && strstr(why(), "f32[8,5]"), "%s", why());
	tensor_i64(&state[1])[0] = 3;
	check("a pointer between batches is refused", objective_restore(o, state, 2) < 0 && strstr(why(), "pointer"), "%s",
	      why());
	tensor_i64(&state[1])[0] = ROWS;
	check("a pointer at a batch is taken", objective_restore(o, state, 2) == 0 && *pointer == ROWS, "%s", why());
	check("a state that lacks a tensor is refused", objective_restore(o, state, 1) < 0 && strstr(why(), "loss.pointer"), "%s",
	      why());
	tensor_release(&state[1]);
	objective_free(o);
}

/* Against sums written out, with logits that overflow exp() and a last block that is short. */
static void test_softmax(void)
{
	enum { K = 700 };
	float *keys = xaligned(K * DIM * sizeof(float)), norm[K], own[ROWS];
	struct softmax *s = softmax_new(ROWS, K, DIM, DIM);
	double worst = 0, t = 0.004;

	fill(q, 4);
	unit_rows(q, ROWS, DIM, q, norm);
	for (int i = 0; i < K * DIM; i++)
		keys[i] = cosf((float)(i * i % 1009));
	unit_rows(keys, K, DIM, keys, norm);
	unit_dots(q, keys, ROWS, DIM, own);
	softmax_run(s, q, own, keys, keys, t);
	for (int i = 0; i < ROWS; i++) {
		double peak = own[i], sum;

		for (int j = 0; j < K; j++) {
			float dot;

			unit_dots(q + i * DIM, keys + j * DIM, 1, DIM, &dot);
			peak = MAX(peak, dot);
		}
		sum = exp((own[i] - peak) / t);
		for (int j = 0; j < K; j++) {
			float dot;

			unit_dots(q + i * DIM, keys + j * DIM, 1, DIM, &dot);
			sum += exp((dot - peak) / t);
		}
		worst = MAX(worst, fabs(s->lse[i] - log(sum) - peak / t) / fabs(s->lse[i]));
	}
	check("softmax at a low temperature, 700 keys", worst < 1e-6, "off by %g", worst);
	softmax_free(s);
	free(keys);
}

static void test_spread(void)
{
	float x[] = { 3, 0, 0, 4, -5, 0, 0, -6 }, norm[4];

	unit_rows(x, 4, 2, x, norm);
	check("feature std of four ways in the plane", fabs(unit_std(x, 4, 2) - sqrt(2.0 / 3)) < 1e-7, "%g",
	      unit_std(x, 4, 2));
	check("norms", norm[0] == 3 && norm[3] == 6, "%g %g", norm[0], norm[3]);
}

static void test_monitor(void)
{
	struct monitor m = { 0 };
	int said = 0;

	for (int i = 0; i < 500; i++)
		said += monitor_collapsing(&m, 1e-4, 128);
	check("a collapse is said once", said == 1, "%d times", said);
}

int main(void)
{
	test_shared();
	test_refusals();
	test_softmax();
	test_spread();
	test_monitor();
	return check_done();
}
