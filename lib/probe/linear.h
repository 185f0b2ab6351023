/*
 * linear.h - multinomial logistic regression on frozen features: the linear probe
 *
 *	minimise over W (classes, dim), b (classes):   mean over training samples of -log softmax(W z + b)[label] + lambda/2 |W|^2
 *
 * where z = (x - mean) / scale, scale^2 = mean squared length of x - mean: one number for all dimensions, so that the family of
 * solutions is that of the raw features (scikit-learn's C is 1 / (lambda n scale^2)), while lambda means the same for any.
 *
 * Strength of the penalty: a keyed draw deals the training samples into five parts. A path of lambdas from strong to weak, each
 * fit starting from the one before, is fitted to all parts but one and scored on that one; it ends when neither accuracy nor
 * likelihood there has improved for three lambdas. Of a small set every part is held out in turn, of others only the first; of
 * more than 10,000 samples, 10,000 drawn by key walk the path. The best lambda (times the number of samples, which is 1/C) is
 * then fitted to all training samples. No test sample is looked at before that.
 *
 * Results do not depend on the number of threads (fit.h).
 *
 *	struct labelled sets = { train, 50000, train_label, test, 10000, test_label, 1024, 10 };
 *	struct linear_result r;
 *	linear_run(&sets, 0, &r);
 *	r.top1                              per cent
 */
#ifndef PROBE_LINEAR_H
#define PROBE_LINEAR_H

#include "lib/probe/features.h"

struct linear_result {
	double top1, top5;             /* of the test samples, per cent */
	double held_out;               /* of the best lambda on the parts held out, per cent */
	double lambda, c;              /* c: the same in scikit-learn's terms, for the final fit */
	int fits;                      /* lambdas tried */
};

/* lambda 0: chosen as above; otherwise used as it is. */
void linear_run(const struct labelled *sets, double lambda, struct linear_result *r);

#endif
