/* feed.c - the rows of a step from upstream, asked for ahead */
#include "cmd/encode/training.h"

#include "lib/nn/train/parts.h"

static size_t view_bytes(const struct training *r, int view)
{
	return (size_t)3 * r->t.c.sizes[view][0] * r->t.c.sizes[view][1];
}

void feed_init(struct training *r)
{
	r->feed.asked = r->feed.taken = r->run.step * r->demand.ask_count;
	r->feed.last = r->leads ? r->run.step : r->end - 1;
	for (int i = 0; i < r->view_count; i++)
		if (r->demand.keys[i] && r->demand.cell_count > 1)
			r->feed.gathered[i] = xmalloc(view_bytes(r, i) * key_most(r->batch, r->parts));
}

/* The next rows are made while we compute on these. */
static void ask_ahead(struct training *r)
{
	const struct demand *d = &r->demand;

	for (; r->feed.asked < (r->feed.last + 1) * d->ask_count && stage_room(r->s) > 0; r->feed.asked++) {
		const struct ask *a = &d->asks[r->feed.asked % d->ask_count];

		stage_want(r->s, r->feed.asked / d->ask_count, a->part, a->parts, d->names[a->use]);
	}
}

void feed_allow(struct training *r, int64_t step)
{
	r->feed.last = MIN(step, r->end - 1);
	ask_ahead(r);
}

/* Takes the answer to the next ask. */
static int take(struct training *r)
{
	struct feed *f = &r->feed;
	const struct ask *a = &r->demand.asks[f->taken % r->demand.ask_count];
	long long step = f->taken / r->demand.ask_count + 1;
	int64_t rows;
	int result;

	ask_ahead(r);
	record_free(f->held);
	f->held = NULL;
	meter_spent(r->t.meter, METER_REST);
	result = stage_take(r->s, &f->held);
	meter_spent(r->t.meter, METER_VIEWS);
	if (result <= 0)
		return result < 0 ? -1 : fail_code(EXIT_GONE, "the stage in front ended before step %lld", step);
	rows = record_find(f->held, r->demand.names[a->use]->names[0])->shape[0];
	if (rows != part_rows(r->batch, a->part, a->parts))
		return fail("the stage in front sent %lld rows of part %d/%d in step %lld, not the %d that are due",
			    (long long)rows, a->part, a->parts, step, part_rows(r->batch, a->part, a->parts));
	f->held_row = part_start(r->batch, a->part, a->parts);
	f->taken++;
	ask_ahead(r);
	return 1;
}

int feed_part(struct training *r, enum use use, int part)
{
	bool due = r->t.c.stream ? r->demand.names[use]->name_count > 0 : use == FOR_QUERIES && part == 0;

	return due ? take(r) : 0;
}

int feed_end(struct training *r)
{
	struct record *answer = NULL;
	int result;

	stage_want(r->s, r->end, 0, 1, r->demand.names[FOR_QUERIES]);
	result = stage_take(r->s, &answer);
	record_free(answer);
	return result > 0 ? fail("the stage in front gave a step after the last one") : result;
}

const uint8_t *feed_rows(const struct training *r, int view, int row)
{
	char name[TENSOR_NAME];

	snprintf(name, sizeof(name), "%s%d", name_rows[NAME_VIEW].prefix, view);
	return tensor_u8(record_find(r->feed.held, name)) + (row - r->feed.held_row) * view_bytes(r, view);
}

int feed_group(struct training *r, int group)
{
	const struct demand *d = &r->demand;
	int at = 0;

	for (int c = 0; c < d->cell_count; c++) {
		struct span cell = d->cells[group * d->cell_count + c];

		if (feed_part(r, FOR_KEYS, group) < 0)
			return -1;
		for (int i = 0; i < r->view_count; i++) {
			size_t bytes = view_bytes(r, i);

			if (r->feed.gathered[i])
				memcpy(r->feed.gathered[i] + at * bytes, feed_rows(r, i, cell.first), cell.count * bytes);
		}
		at += cell.count;
	}
	return at;
}

const uint8_t *feed_gathered(const struct training *r, int view, int group)
{
	const uint8_t *gathered = r->feed.gathered[view];

	return gathered ? gathered : feed_rows(r, view, r->demand.parts[group].first);
}

void feed_release(struct feed *f)
{
	record_free(f->held);
	for (int i = 0; i < TRAINER_VIEWS; i++)
		free(f->gathered[i]);
}
