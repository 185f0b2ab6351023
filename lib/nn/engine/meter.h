/*
 * meter.h - where the time of training steps goes, and how far each operation is from its bound
 *
 * Between meter_open() and meter_close() every thread of a pass says what its time since its last word was spent on; waiting
 * for the other threads is a row of its own, so the rows of one thread add up to the pass. Outside of passes meter_spent() does
 * the same. A step's row is the mean over the threads; what is printed are medians over the last METER_STEPS steps, without the
 * first METER_WARM ones.
 *
 *	struct meter *m = meter_new(plan);                          measures the machine's rates: about a second
 *	pass_meter(pass, m);
 *	net_forward(plan, pass, ...);                               a row an operation
 *	optimiser_step(...);
 *	meter_spent(m, METER_OPTIMISER);
 *	meter_step(m);                                             the step is over
 *	...
 *	meter_print(m, stderr);
 *	meter_free(m);
 *
 * The bound: an image's forward pass has to write each convolution's output and to read it once, a backward pass to read it
 * twice and to write and read its gradient: 8 passes over memory in a step of query, gradient and key. A backward pass
 * multiplies twice as much as a forward pass (once where no input wants a gradient). An operation takes at least the longer of
 * its bytes at the rate of memory and its products at the rate of products; what the others (sums, pools, norms, optimiser)
 * take could be hidden behind these, so their bound is 0. Both rates are measured (rates.h), with all threads; the costs come
 * from the table of operations (engine.h: struct cost). Outputs that stay in a cache from their writer to their reader can be
 * faster than the bound.
 *
 * All functions but meter_new() and meter_print() take NULL for a meter that is off, and do nothing.
 */
#ifndef NN_METER_H
#define NN_METER_H

#include "lib/nn/engine/net.h"

#define METER_STEPS 32
#define METER_WARM 2

enum meter_column { METER_FORWARD, METER_BACKWARD, METER_KEY, METER_COLUMNS };

/* What time is spent on; METER_NODE + i is node i of the net. */
enum meter_row {
	METER_NORM,              /* batch norm: from column sums to scales and shifts */
	METER_FACTORS,           /* weights as factors of products */
	METER_PARTS,             /* adding the threads' parts of weight gradients */
	METER_THREADS,           /* a thread waiting for the others */
	METER_OPTIMISER,
	METER_EMA,
	METER_LOSS,              /* waiting for the loss */
	METER_VIEWS,             /* waiting for views */
	METER_REST,
	METER_NODE
};

struct meter;

struct meter *meter_new(const struct plan *plan);
void meter_free(struct meter *m);

/* Around the parallel region of a pass over rows images; those of another plan's size count by their pixels. */
void meter_open(struct meter *m, enum meter_column column, const struct plan *plan, int rows);
void meter_close(struct meter *m);
/* Within it, by each thread. */
void meter_add(struct meter *m, int thread, int row);
static inline void meter_mark(struct meter *m, int thread, int row)
{
	if (m)
		meter_add(m, thread, row);
}

/* Outside of passes: what the time since the last call of any of these was spent on. */
void meter_spent(struct meter *m, enum meter_row row);
void meter_step(struct meter *m);

/*
 * A line an operation, then totals by kind, then the step; fields are separated by tabs and padded: name, shape, ms, of which
 * forward, backward, key; GFLOP/s, GB/s, share of the step in %, bound in ms, ms / bound ("-" where there is none).
 */
void meter_print(const struct meter *m, FILE *out);

/* Multiplications and additions of a forward pass of one image. */
double plan_flops(const struct plan *plan);

#endif
