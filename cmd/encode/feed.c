/* feed.c - what a step asks for upstream, and the rows that come */
#include "cmd/encode/training.h"

#include "lib/nn/train/parts.h"

enum { RECORD_MB = 256 };  /* a record beyond it earns a hint */

/* --- what to ask for --- */

static void add_view(struct training *r, enum use use, int view)
{
	char name[TENSOR_NAME];

	snprintf(name, sizeof(name), "view%d", view);
	record_name(r->names[r->t.c.stream ? use : FOR_QUERIES], name);
}

/* The views and pass-through tensors that a wanted name needs. */
static int translate_name(struct training *r, const char *name)
{
	int i;

	if (!record_offered(r->schema, name))
		return refuse_name(name);
	if (view_name(name, "q", r->view_count, &i)) {
		add_view(r, FOR_QUERIES, i);
		add_view(r, FOR_GRADIENTS, i);
		r->trains[i] = true;
	} else if (view_name(name, "feature", r->view_count, &i)) {
		add_view(r, FOR_QUERIES, i);
		r->features[i] = true;
	} else if (view_name(name, "k", r->view_count, &i)) {
		add_view(r, FOR_KEYS, i);
		r->keys[i] = true;
	} else {
		record_name(r->names[FOR_QUERIES], name);
	}
	return 0;
}

static void add_ask(struct training *r, enum use use, int part, int parts)
{
	if (r->names[use]->name_count)
		r->asks[r->ask_count++] = (struct ask){ use, part, parts };
}

/* In the order in which the step works: queries by parts, keys by groups, gradients by parts. */
static void list_asks(struct training *r)
{
	int n = r->parts, cells = key_cells(r->batch, n);

	r->asks = xcalloc((size_t)n * (2 + cells), sizeof(*r->asks));
	if (!r->t.c.stream) {
		add_ask(r, FOR_QUERIES, 0, 1);
		return;
	}
	for (int i = 0; i < n; i++)
		add_ask(r, FOR_QUERIES, i, n);
	for (int i = 0; i < n * cells; i++)
		add_ask(r, FOR_KEYS, key_cell(r->batch, n, i / cells, i % cells), n * cells);
	for (int i = 0; i < n; i++)
		add_ask(r, FOR_GRADIENTS, i, n);
}

/* Nothing is lost with large records, but two of them stand at every link. */
static void hint_at_parts(const struct training *r)
{
	const struct ask *a = &r->asks[0];
	const struct record *names = r->names[a->use];
	int64_t row = 0, fits;

	for (int i = 0; i < names->name_count; i++) {
		const struct tensor *offer = record_offered(stage_schema(r->s), names->names[i]);

		row += (int64_t)tensor_bytes(offer) / offer->shape[0];
	}
	fits = MAX(1, ((int64_t)RECORD_MB << 20) / MAX(1, row));
	if (r->batch / a->parts > fits)
		note("the stage in front sends records of %lld MB: --microbatch %lld keeps them below %d",
		     (long long)(row * (r->batch / a->parts) >> 20), (long long)fits, RECORD_MB);
}

int feed_init(struct training *r, const struct record *want)
{
	r->wanted = record_new(KIND_WANT);
	for (int i = 0; i < USES; i++)
		r->names[i] = record_new(KIND_WANT);
	for (int n = 0; n < want->name_count; n++) {
		record_name(r->wanted, want->names[n]);
		if (translate_name(r, want->names[n]) < 0)
			return -1;
	}
	list_asks(r);
	hint_at_parts(r);
	r->asked = r->taken = r->run.step * r->ask_count;
	return 0;
}

/* --- rows from upstream --- */

/* The next rows are made while we compute on these. */
static void ask_ahead(struct training *r)
{
	for (; r->asked < r->end * r->ask_count && stage_room(r->s) > 0; r->asked++) {
		const struct ask *a = &r->asks[r->asked % r->ask_count];

		stage_want(r->s, r->asked / r->ask_count, a->part, a->parts, r->names[a->use]);
	}
}

/* Takes the answer to the next ask. */
static int take(struct training *r)
{
	const struct ask *a = &r->asks[r->taken % r->ask_count];
	long long step = r->taken / r->ask_count + 1;
	int64_t rows;
	int result;

	ask_ahead(r);
	record_free(r->held);
	r->held = NULL;
	meter_spent(r->t.meter, METER_REST);
	result = stage_take(r->s, &r->held);
	meter_spent(r->t.meter, METER_VIEWS);
	if (result <= 0)
		return result < 0 ? -1 : fail_code(EXIT_GONE, "the stage in front ended before step %lld", step);
	rows = record_find(r->held, r->names[a->use]->names[0])->shape[0];
	if (rows != part_rows(r->batch, a->part, a->parts))
		return fail("the stage in front sent %lld rows of part %d/%d in step %lld, not the %d that are due",
			    (long long)rows, a->part, a->parts, step, part_rows(r->batch, a->part, a->parts));
	r->held_row = part_start(r->batch, a->part, a->parts);
	r->taken++;
	ask_ahead(r);
	return 1;
}

int feed_part(struct training *r, enum use use, int part)
{
	bool due = r->t.c.stream ? r->names[use]->name_count > 0 : use == FOR_QUERIES && part == 0;

	return due ? take(r) : 0;
}

const uint8_t *feed_rows(const struct training *r, int view, int row)
{
	size_t bytes = (size_t)3 * r->t.c.net.height * r->t.c.net.width;
	char name[TENSOR_NAME];

	snprintf(name, sizeof(name), "view%d", view);
	return tensor_u8(record_find(r->held, name)) + (row - r->held_row) * bytes;
}

void feed_release(struct training *r)
{
	record_free(r->wanted);
	for (int i = 0; i < USES; i++)
		record_free(r->names[i]);
	free(r->asks);
	record_free(r->held);
}
