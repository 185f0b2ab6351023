#include "lib/nn/engine/meter.h"

#include "lib/base/progress.h"
#include "lib/nn/engine/engine.h"
#include "lib/tensor/rates.h"

#include <omp.h>

enum { KINDS_MAX = 32, NAME = 40 };

/* A thread's time since its last word, and what it was spent on, (rows, METER_COLUMNS). */
struct lane {
	double last;
	double *seconds;
} __attribute__((aligned(64)));

struct meter {
	const struct plan *plan;
	int threads, rows;
	double bandwidth, products[DTYPES];   /* bytes/s, of F32 and BF16 flop/s, all threads together */
	enum meter_column column;             /* of the pass at work */
	double images[METER_COLUMNS];         /* of the step at work */
	double work[METER_COLUMNS];           /* of the step before */
	struct lane *lanes;
	double last, outside[METER_NODE];
	int64_t steps;
	float *history;                       /* (rows, METER_COLUMNS, METER_STEPS) seconds */
};

/* --- life cycle --- */

static bool uses(const struct plan *plan, enum dtype e)
{
	for (int i = 1; i < plan->count; i++)
		if (plan->nodes[i].factor == e)
			return true;
	return false;
}

struct meter *meter_new(const struct plan *plan)
{
	struct meter *m = xcalloc(1, sizeof(*m));

	m->plan = plan;
	m->threads = omp_get_max_threads();
	m->rows = METER_NODE + plan->count;
	m->bandwidth = rate_of_memory();
	m->products[F32] = rate_of_products(plan->backend[F32], F32, m->threads);
	if (uses(plan, BF16))
		m->products[BF16] = rate_of_products(plan->backend[BF16], BF16, m->threads);
	m->lanes = xaligned(m->threads * sizeof(*m->lanes));
	for (int t = 0; t < m->threads; t++)
		m->lanes[t].seconds = xaligned((size_t)m->rows * METER_COLUMNS * sizeof(double));
	m->history = xaligned((size_t)m->rows * METER_COLUMNS * METER_STEPS * sizeof(float));
	m->last = now();
	return m;
}

void meter_free(struct meter *m)
{
	if (!m)
		return;
	for (int t = 0; t < m->threads; t++)
		free(m->lanes[t].seconds);
	free(m->lanes);
	free(m->history);
	free(m);
}

/* --- taking times --- */

void meter_spent(struct meter *m, enum meter_row row)
{
	double t;

	if (!m)
		return;
	t = now();
	m->outside[row] += t - m->last;
	m->last = t;
}

void meter_open(struct meter *m, enum meter_column column, const struct plan *plan, int rows)
{
	if (!m)
		return;
	meter_spent(m, METER_REST);
	m->column = column;
	m->images[column] += (double)rows * plan->height * plan->width / (m->plan->height * m->plan->width);
	for (int t = 0; t < m->threads; t++)
		m->lanes[t].last = m->last;
}

void meter_add(struct meter *m, int thread, int row)
{
	struct lane *lane = &m->lanes[thread];
	double t = now();

	lane->seconds[row * METER_COLUMNS + m->column] += t - lane->last;
	lane->last = t;
}

void meter_close(struct meter *m)
{
	for (int t = 0; m && t < m->threads; t++)
		meter_add(m, t, METER_THREADS);
	if (m)
		m->last = now();
}

static float *history_at(const struct meter *m, int row, int column)
{
	return m->history + ((size_t)row * METER_COLUMNS + column) * METER_STEPS;
}

void meter_step(struct meter *m)
{
	int64_t at;

	if (!m)
		return;
	meter_spent(m, METER_REST);
	at = (m->steps++ - METER_WARM + METER_STEPS) % METER_STEPS;   /* warm steps are the first to be written over */
	for (int row = 0; row < m->rows; row++)
		for (int c = 0; c < METER_COLUMNS; c++) {
			double sum = row < METER_NODE && c == 0 ? m->outside[row] * m->threads : 0;

			for (int t = 0; t < m->threads; t++) {
				sum += m->lanes[t].seconds[row * METER_COLUMNS + c];
				m->lanes[t].seconds[row * METER_COLUMNS + c] = 0;
			}
			history_at(m, row, c)[at] = (float)(sum / m->threads);
		}
	memset(m->outside, 0, sizeof(m->outside));
	memcpy(m->work, m->images, sizeof(m->work));
	memset(m->images, 0, sizeof(m->images));
}

/* --- costs --- */

/* Of an image, of node i of the net. */
static struct cost cost_of(const struct plan *plan, int i, enum meter_column column)
{
	const struct node *x = &plan->nodes[i];
	struct cost c = x->op->cost ? x->op->cost(x, &plan->nodes[x->in[0]]) : (struct cost){ 0 };

	if (column == METER_BACKWARD && i < plan->first)
		return (struct cost){ 0 };
	if (column == METER_BACKWARD) {
		c.flops *= is_view(&plan->nodes[x->in[0]]) ? 1 : 2;
		c.bytes *= 2;
	}
	return c;
}

double plan_flops(const struct plan *plan)
{
	double sum = 0;

	for (int i = 1; i < plan->count; i++)
		sum += cost_of(plan, i, METER_FORWARD).flops;
	return sum;
}

/* --- what is printed --- */

/* Of a node, of all nodes of a kind, or of something else: milliseconds, and the work of a step. */
struct line {
	double ms[METER_COLUMNS], flops, bytes, bound;
};

static int by_value(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

/* Steps that count. */
static int counted(const struct meter *m)
{
	return (int)MAX(0, MIN(m->steps - METER_WARM, METER_STEPS));
}

static double median_ms(const struct meter *m, int row, int column)
{
	float sorted[METER_STEPS];
	int n = counted(m);

	memcpy(sorted, history_at(m, row, column), n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), by_value);
	return 1e3 * (sorted[n / 2] + sorted[(n - 1) / 2]) / 2;
}

static struct line line_of(const struct meter *m, int row)
{
	struct line l = { 0 };

	for (int c = 0; c < METER_COLUMNS; c++) {
		struct cost cost = { 0 };

		l.ms[c] = median_ms(m, row, c);
		if (row <= METER_NODE)
			continue;
		cost = cost_of(m->plan, row - METER_NODE, c);
		l.flops += m->work[c] * cost.flops;
		l.bytes += m->work[c] * cost.bytes;
		if (cost.flops > 0)
			l.bound += 1e3 * m->work[c] * MAX(cost.flops / m->products[cost.element], cost.bytes / m->bandwidth);
	}
	return l;
}

static double total_ms(const struct line *l)
{
	return l->ms[METER_FORWARD] + l->ms[METER_BACKWARD] + l->ms[METER_KEY];
}

static void add_line(struct line *sum, const struct line *l)
{
	for (int c = 0; c < METER_COLUMNS; c++)
		sum->ms[c] += l->ms[c];
	sum->flops += l->flops;
	sum->bytes += l->bytes;
	sum->bound += l->bound;
}

/* Without what all weights end in. */
static int name_length(const char *name)
{
	size_t n = strlen(name), end = strlen(".weight");

	return (int)(n > end && strcmp(name + n - end, ".weight") == 0 ? n - end : n);
}

/* The weight's name, or for a node that has none its operation and number. */
static void name_of(const struct plan *plan, int i, char *name)
{
	const struct node *x = &plan->nodes[i];

	snprintf(name, NAME, "%s %d", x->op->entry.name, i);
	for (int t = 0; t < plan->net->tensor_count && x->weights; t++) {
		const struct net_tensor *tensor = &plan->net->tensors[t];

		if (!tensor->buffer && tensor->offset == x->weight)
			snprintf(name, NAME, "%.*s", name_length(tensor->name), tensor->name);
	}
}

static void shape_of(const struct plan *plan, int i, char *shape)
{
	const struct node *x = &plan->nodes[i], *in = &plan->nodes[x->in[0]];
	int n = snprintf(shape, NAME, "%d->%d @%dx%d", in->c, x->c, x->h, x->w);

	if (x->k > 1)
		snprintf(shape + n, NAME - n, " k%d/%d", x->k, x->stride);
}

/* Convolutions of one pixel are another kind: they are products as they stand. */
static const char *kind_of(const struct node *x)
{
	return !x->op->layer ? x->op->entry.name : x->k == 1 ? "conv 1x1" : "conv kxk";
}

static void print_line(FILE *out, const char *name, const char *shape, const struct line *l, double step)
{
	double ms = total_ms(l);

	fprintf(out, "%-36s\t%-26s\t%9.3f\t%9.3f\t%9.3f\t%9.3f\t%8.1f\t%8.2f\t%6.2f\t%9.3f\t", name, shape, ms,
		l->ms[METER_FORWARD],
		l->ms[METER_BACKWARD], l->ms[METER_KEY], ms > 0 ? 1e-6 * l->flops / ms : 0, ms > 0 ? 1e-6 * l->bytes / ms : 0,
		step > 0 ? 100 * ms / step : 0, l->bound);
	if (l->bound > 0)
		fprintf(out, "%7.2f\n", ms / l->bound);
	else
		fprintf(out, "%7s\n", "-");
}

/* The line of a kind, made when it is the first. */
static struct line *find_kind(const char *kind, const char **names, struct line *kinds)
{
	int i = 0;

	while (names[i] && strcmp(names[i], kind) != 0)
		i++;
	if (i == KINDS_MAX - 1)
		bug("more than %d kinds of operations", KINDS_MAX - 1);
	names[i] = kind;
	return &kinds[i];
}

static void print_head(const struct meter *m, FILE *out)
{
	fprintf(out, "# medians of %d steps, %d threads; memory %.1f GB/s, products f32 %.0f", counted(m), m->threads,
		1e-9 * m->bandwidth, 1e-9 * m->products[F32]);
	if (m->products[BF16] > 0)
		fprintf(out, ", bf16 %.0f", 1e-9 * m->products[BF16]);
	fprintf(out, " GFLOP/s\n%-36s\t%-26s\t%9s\t%9s\t%9s\t%9s\t%8s\t%8s\t%6s\t%9s\t%7s\n", "# operation", "shape", "ms",
		"forward", "backward", "key", "GFLOP/s", "GB/s", "share", "bound", "ratio");
}

static const char *const others[METER_NODE] = {
	[METER_NORM] = "batch norm", [METER_FACTORS] = "weights as factors", [METER_PARTS] = "adding gradients",
	[METER_THREADS] = "threads waiting", [METER_OPTIMISER] = "optimiser", [METER_EMA] = "ema",
	[METER_LOSS] = "waiting for the loss", [METER_VIEWS] = "waiting for views", [METER_REST] = "rest",
};

void meter_print(const struct meter *m, FILE *out)
{
	const char *names[KINDS_MAX] = { NULL };
	struct line kinds[KINDS_MAX] = { { .flops = 0 } }, step = { .flops = 0 };

	if (counted(m) == 0) {
		fprintf(out, "# no profile: the first %d steps do not count\n", METER_WARM);
		return;
	}
	print_head(m, out);
	for (int row = 0; row < METER_NODE; row++) {
		struct line l = line_of(m, row);

		add_line(find_kind(others[row], names, kinds), &l);
		add_line(&step, &l);
	}
	for (int i = 1; i < m->plan->count; i++) {
		struct line l = line_of(m, METER_NODE + i);

		add_line(find_kind(kind_of(&m->plan->nodes[i]), names, kinds), &l);
		add_line(&step, &l);
	}
	for (int i = 1; i < m->plan->count; i++) {
		char name[NAME], shape[NAME];
		struct line l = line_of(m, METER_NODE + i);

		name_of(m->plan, i, name);
		shape_of(m->plan, i, shape);
		print_line(out, name, shape, &l, total_ms(&step));
	}
	for (int i = 0; names[i]; i++)
		print_line(out, names[i], "all", &kinds[i], total_ms(&step));
	print_line(out, "step", "", &step, total_ms(&step));
}
