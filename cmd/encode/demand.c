/* demand.c - what a loss wants of a step, as outputs of the network and as asks upstream */
#include "cmd/encode/training.h"

#include "lib/nn/train/parts.h"

enum { RECORD_MB = 256 };  /* a record beyond it earns a hint */

static void add_view(struct training *r, enum use use, int view)
{
	char name[TENSOR_NAME];

	snprintf(name, sizeof(name), "%s%d", name_rows[NAME_VIEW].prefix, view);
	record_name(r->demand.names[r->t.c.stream ? use : FOR_QUERIES], name);
}

/* Keys of momentum 0 are the network's own head in this step, without a gradient. */
static void add_wish(struct training *r, const char *text, const struct own *own)
{
	struct demand *d = &r->demand;
	struct wish *w = &d->wishes[d->count++];
	const struct name *name = &name_rows[own->name];
	int view = own->view;

	/* what goes under another name may be wanted to be looked at alone */
	*w = (struct wish){ .view = view, .output = own->output, .width = net_width(r->t.net, own->output),
			    .by_key = own->name == NAME_KEY && r->t.c.ema.to > 0,
			    .trained = name->gradient != GRADIENT_NEVER,
			    .must = name->gradient == GRADIENT_MUST && !r->o->as };
	format(w->text, sizeof(w->text), "%s", text);
	(w->by_key ? d->keys : d->queries)[view] = true;
	d->has_keys |= w->by_key;
	add_view(r, w->by_key ? FOR_KEYS : FOR_QUERIES, view);
	if (w->trained)
		add_view(r, FOR_GRADIENTS, view);
}

int own_list(const struct training *r, struct own list[OUTPUTS + 1])
{
	static const enum name_kind kinds[] = { [OUTPUT_FEATURE] = NAME_FEATURE, [OUTPUT_HEAD] = NAME_HEAD };
	const char *as = r->o->as ? r->o->as : "";
	int n = 0;

	for (int i = 0; i <= OUTPUTS; i++) {
		bool key = i == OUTPUTS;
		enum output output = key ? OUTPUT_HEAD : (enum output)i;
		enum name_kind kind = key ? NAME_KEY : output < OUTPUT_PREDICTOR ? kinds[output] : NAME_PREDICTOR;
		const char *prefix = kind == NAME_HEAD && r->o->as ? "" : name_rows[kind].prefix;

		if (net_width(r->t.net, output) == 0)
			continue;
		list[n] = (struct own){ .name = kind, .output = output };
		if (format(list[n++].prefix, TENSOR_NAME, "%s%s%s", as, prefix,
			   kind == NAME_PREDICTOR ? net_word(r->t.net, output) : "") < 0)
			return fail_code(EXIT_USAGE, "'%.40s...' is too long for a name: give a shorter one with --as", as);
	}
	return n;
}

/* Whether a name is ours; *own with its view then. */
static bool find_own(const struct training *r, const char *text, struct own *own)
{
	struct own list[OUTPUTS + 1];
	int n = own_list(r, list);

	for (int i = 0; i < n; i++)
		if (view_name(text, list[i].prefix, r->view_count, &list[i].view)) {
			*own = list[i];
			return true;
		}
	return false;
}

static int add_name(struct training *r, const char *text)
{
	struct own own;

	record_name(r->demand.wanted, text);
	if (!record_offered(r->schema, text))
		return refuse_name(text);
	if (find_own(r, text, &own))
		add_wish(r, text, &own);
	else
		record_name(r->demand.names[FOR_QUERIES], text);
	return 0;
}

static void add_ask(struct demand *d, enum use use, int part, int parts)
{
	if (d->names[use]->name_count)
		d->asks[d->ask_count++] = (struct ask){ use, part, parts };
}

static struct span span_of(int batch, int part, int parts)
{
	return (struct span){ part_start(batch, part, parts), part_rows(batch, part, parts) };
}

/* How a step is cut. */
static void list_rows(struct training *r)
{
	struct demand *d = &r->demand;
	int n = r->parts, cells = d->cell_count = key_cells(r->batch, n);

	d->parts = xcalloc(n, sizeof(*d->parts));
	d->cells = xcalloc((size_t)n * cells, sizeof(*d->cells));
	for (int i = 0; i < n; i++)
		d->parts[i] = span_of(r->batch, i, n);
	for (int i = 0; i < n * cells; i++)
		d->cells[i] = span_of(r->batch, key_cell(r->batch, n, i / cells, i % cells), n * cells);
}

/* In the order in which the step works: queries by parts, keys by groups, gradients by parts. */
static void list_asks(struct training *r)
{
	struct demand *d = &r->demand;
	int n = r->parts, cells = d->cell_count;

	d->asks = xcalloc((size_t)n * (2 + cells), sizeof(*d->asks));
	if (!r->t.c.stream) {
		add_ask(d, FOR_QUERIES, 0, 1);
		return;
	}
	for (int i = 0; i < n; i++)
		add_ask(d, FOR_QUERIES, i, n);
	for (int i = 0; i < n * cells; i++)
		add_ask(d, FOR_KEYS, key_cell(r->batch, n, i / cells, i % cells), n * cells);
	for (int i = 0; i < n; i++)
		add_ask(d, FOR_GRADIENTS, i, n);
}

/* Nothing is lost with large records, but two of them stand at every link. */
static void hint_at_parts(const struct training *r)
{
	const struct ask *a = &r->demand.asks[0];
	const struct record *wanted = r->demand.names[a->use];
	int64_t row = 0, fits;

	for (int i = 0; i < wanted->name_count; i++) {
		const struct tensor *offer = record_offered(stage_schema(r->s), wanted->names[i]);

		row += (int64_t)tensor_bytes(offer) / offer->shape[0];
	}
	fits = MAX(1, ((int64_t)RECORD_MB << 20) / MAX(1, row));
	if (r->batch / a->parts > fits)
		note("the stage in front sends records of %lld MB: --microbatch %lld keeps them below %d",
		     (long long)(row * (r->batch / a->parts) >> 20), (long long)fits, RECORD_MB);
}

int demand_init(struct training *r, const struct record *want)
{
	struct demand *d = &r->demand;
	bool trains = false;

	d->wanted = record_new(KIND_WANT);
	for (int i = 0; i < USES; i++)
		d->names[i] = record_new(KIND_WANT);
	for (int n = 0; n < want->name_count; n++)
		if (add_name(r, want->names[n]) < 0)
			return -1;
	for (int i = 0; i < d->count; i++)
		trains |= d->wishes[i].trained;
	if (!trains)
		return fail_code(EXIT_USAGE, "the loss wants nothing that is trained: %sI, %sI or %sI of a view I",
				 name_rows[NAME_FEATURE].prefix, name_rows[NAME_HEAD].prefix, name_rows[NAME_PREDICTOR].prefix);
	list_rows(r);
	list_asks(r);
	hint_at_parts(r);
	return 0;
}

void demand_release(struct demand *d)
{
	record_free(d->wanted);
	for (int i = 0; i < USES; i++)
		record_free(d->names[i]);
	free(d->parts);
	free(d->cells);
	free(d->asks);
}
