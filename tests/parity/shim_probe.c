/* Plain-argument doors to lib/probe for the tests in Python (ctypes). */
#include "lib/base/threads.h"
#include "lib/probe/knn.h"
#include "lib/probe/linear.h"

void shim_knn(const float *train, int64_t train_count, const int32_t *train_label, const float *test, int64_t test_count,
	      const int32_t *test_label, int64_t dim, int classes, int k, double t, int fixed_k, int threads, double *out);

/* out: k, top1, top5, best_k, best, fixed */
void shim_knn(const float *train, int64_t train_count, const int32_t *train_label, const float *test, int64_t test_count,
	      const int32_t *test_label, int64_t dim, int classes, int k, double t, int fixed_k, int threads, double *out)
{
	struct labelled sets = { train, train_count, train_label, test, test_count, test_label, dim, classes };
	struct knn_result r;

	threads_set(threads);
	knn_run(&sets, k, t, fixed_k, &r);
	out[0] = r.k;
	out[1] = r.top1;
	out[2] = r.top5;
	out[3] = r.best_k;
	out[4] = r.best;
	out[5] = r.fixed;
}

void shim_linear(const float *train, int64_t train_count, const int32_t *train_label, const float *test, int64_t test_count,
		 const int32_t *test_label, int64_t dim, int classes, double lambda, int threads, double *out);

/* out: top1, top5, held_out, lambda, c, fits */
void shim_linear(const float *train, int64_t train_count, const int32_t *train_label, const float *test, int64_t test_count,
		 const int32_t *test_label, int64_t dim, int classes, double lambda, int threads, double *out)
{
	struct labelled sets = { train, train_count, train_label, test, test_count, test_label, dim, classes };
	struct linear_result r;

	threads_set(threads);
	linear_run(&sets, lambda, &r);
	out[0] = r.top1;
	out[1] = r.top5;
	out[2] = r.held_out;
	out[3] = r.lambda;
	out[4] = r.c;
	out[5] = r.fits;
}
