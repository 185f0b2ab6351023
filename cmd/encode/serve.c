/* serve.c - a frozen network: what it answers is a pure function of the request */
#include "cmd/encode/encode.h"

#include "lib/nn/train/parts.h"

enum { AHEAD = 2 };  /* requests whose views are asked for upstream before the first is answered */

struct pending {
	int client;
	struct record *want, *answer;
	struct record *sources;      /* what the answer is made of; NULL where it was there already, or is about to be */
	bool asked;                  /* whether some of them were asked for upstream */
};

struct server {
	struct stage *s;
	const struct options *o;
	int views, batch;
	struct frozen w;
	struct served {               /* the network for views of one size */
		struct plan *plan;
		struct factors *factors; /* of the weights, which stay as they are */
		struct pass *pass;   /* for room rows: as many as were ever asked for at once, at most --microbatch */
		int height, width, room;
	} sizes[TRAINER_VIEWS];
	int size_count;
	struct record *schema;
	struct pending pending[AHEAD];
	int count;
};

static struct served *find_size(struct server *v, int height, int width)
{
	int i = 0;

	while (i < v->size_count && (v->sizes[i].height != height || v->sizes[i].width != width))
		i++;
	return &v->sizes[i];
}

/* Plans the network for every size of views. */
static int plan_sizes(struct server *v)
{
	int sizes[TRAINER_VIEWS][2];

	if (v->views > TRAINER_VIEWS)
		return fail_code(EXIT_USAGE, "the stage in front gives %d views: encode serves %d at most", v->views,
				 TRAINER_VIEWS);
	view_sizes(stage_schema(v->s), sizes);
	for (int i = 0; i < v->views; i++) {
		struct served *size = find_size(v, sizes[i][0], sizes[i][1]);

		if (size->plan)
			continue;
		*size = (struct served){ .plan = plan_new(v->w.net, sizes[i][0], sizes[i][1]), .height = sizes[i][0],
					.width = sizes[i][1] };
		if (!size->plan)
			return -1;
		size->factors = factors_new(size->plan, false);
		v->size_count++;
	}
	return 0;
}

static struct pass *make_room(struct served *size, int rows)
{
	if (rows <= size->room)
		return size->pass;
	pass_free(size->pass);
	size->pass = pass_new(size->plan, rows, false);
	pass_share(size->pass, size->factors);
	size->room = rows;
	return size->pass;
}

/* --- what can be asked for --- */

static int describe(struct server *v)
{
	const struct record *up = stage_schema(v->s);
	const struct tensor *classes = record_find(up, "classes");
	struct record *schema = v->schema = record_new(KIND_SCHEMA);
	int r = 0;

	stage_describe(v->s, schema);
	record_set_bool(schema, "trained", false);
	record_copy_facts(schema, up);
	copy_origin(schema, up);
	if (classes)
		record_add(schema, tensor_share(classes));
	for (int i = 0; i < v->views; i++) /* before the others': a name that two make means ours */
		for (enum output n = 0; r == 0 && n < OUTPUTS; n++)
			if (*v->w.names[n])
				r = offer_own(schema, v->w.names[n], i, v->batch, net_width(v->w.net, n));
	return r == 0 ? offer_others(schema, up) : -1;
}

/* --- answering --- */

static void copy_place(struct record *to, const struct record *from)
{
	record_set_int(to, "step", record_int(from, "step", 0));
	record_set_int(to, "part", record_int(from, "part", 0));
	record_set_int(to, "parts", record_int(from, "parts", 1));
}

/* Whether another client's answer to the same is on its way: it will be kept, and serve both. */
static bool is_coming(const struct server *v, const struct record *want)
{
	for (int i = 0; i < v->count; i++) {
		const struct record *other = v->pending[i].want;

		if (v->pending[i].sources && record_int(other, "step", 0) == record_int(want, "step", 0) &&
		    record_int(other, "part", 0) == record_int(want, "part", 0) &&
		    record_int(other, "parts", 1) == record_int(want, "parts", 1))
			return true;
	}
	return false;
}

/* Whether a name is one of our outputs, of which view. */
static bool is_own(const struct server *v, const char *name, int *view)
{
	for (int i = 0; i < OUTPUTS; i++)
		if (*v->w.names[i] && view_name(name, v->w.names[i], v->views, view))
			return true;
	return false;
}

/* Names of what the answer's missing tensors are made of. */
static struct record *needed(const struct server *v, const struct record *want, const struct record *answer)
{
	struct record *sources = record_new(KIND_WANT);
	char view[TENSOR_NAME];
	int i;

	for (int n = 0; n < want->name_count; n++) {
		const char *name = want->names[n];

		if (record_find(answer, name))
			continue;
		if (is_own(v, name, &i)) {
			snprintf(view, sizeof(view), "%s%d", name_rows[NAME_VIEW].prefix, i);
			name = view;
		}
		record_name(sources, name);
	}
	return sources;
}

/* Collects what an answer is made of: from what is kept, the rest from upstream. */
static void gather(struct server *v, struct pending *p)
{
	struct record *sources = needed(v, p->want, p->answer), *up = record_new(KIND_WANT);

	p->sources = record_new(KIND_BATCH);
	copy_place(p->sources, p->want);
	p->asked = !stage_recall(v->s, sources, p->sources);
	for (int n = 0; n < sources->name_count; n++)
		if (!record_find(p->sources, sources->names[n]))
			record_name(up, sources->names[n]);
	if (p->asked)
		stage_want(v->s, record_int(p->want, "step", 0), (int)record_int(p->want, "part", 0),
			   (int)record_int(p->want, "parts", 1), up);
	record_free(up);
	record_free(sources);
}

/* Takes a want over into the queue of those to be answered. */
static void enqueue(struct server *v, int client, struct record *want)
{
	struct pending p = { .client = client, .want = want, .answer = record_new(KIND_BATCH) };

	copy_place(p.answer, want);
	if (!stage_recall(v->s, want, p.answer) && !is_coming(v, want))
		gather(v, &p);
	v->pending[v->count++] = p;
}

/* Rows of a step: the last one of an evaluation may be shorter. */
static int rows_of(const struct server *v, int64_t step)
{
	int64_t samples = record_int(v->schema, "fact.samples", 0), left = samples - step * v->batch;

	return record_bool(v->schema, "fact.eval", false) && samples > 0 ? (int)MAX(0, MIN(left, v->batch)) : v->batch;
}

/* What the stage in front would refuse, to us and so to all clients, is refused here to the one who asks. */
static int check_want(const struct server *v, const struct record *want)
{
	int64_t step = record_int(want, "step", -1), part = record_int(want, "part", 0), parts = record_int(want, "parts", 1);
	int64_t steps = record_int(v->schema, "fact.steps", 0);

	if (want->kind != KIND_WANT)
		return fail("unable to answer '%s': this encode is not trained", kind_name(want->kind));
	if (step < 0 || step >= steps)
		return fail("unable to give step %lld: there are %lld", (long long)step + 1, (long long)steps);
	if (part >= parts || part_rows(rows_of(v, step), (int)part, (int)parts) == 0)
		return fail("unable to give part %lld of %lld of step %lld, which has %d rows", (long long)part, (long long)parts,
			    (long long)step + 1, rows_of(v, step));
	for (int n = 0; n < want->name_count; n++)
		if (!record_offered(v->schema, want->names[n]))
			return refuse_name(want->names[n]);
	return 0;
}

static int take_want(struct server *v, const struct request *q)
{
	struct record *want;

	if (check_want(v, q->record) < 0)
		return stage_decline(v->s, q);
	want = record_new(KIND_WANT);
	copy_place(want, q->record);
	for (int n = 0; n < q->record->name_count; n++)
		record_name(want, q->record->names[n]);
	enqueue(v, q->client, want);
	return 0;
}

/* Memory for an output's rows in the answer; NULL when nobody asked for it, or it is there. */
static float *add_output(const char *prefix, int view, int64_t rows, int64_t width, const struct record *wanted,
			 struct record *answer)
{
	char name[TENSOR_NAME];
	struct tensor t;

	snprintf(name, sizeof(name), "%s%d", prefix, view);
	if (!record_named(wanted, name) || record_find(answer, name))
		return NULL;
	t = tensor_new(name, F32, 2, (int64_t[]){ rows, width });
	record_add(answer, t);
	return t.data;
}

static void encode_view(struct server *v, const struct tensor *x, int view, const struct record *wanted, struct record *answer)
{
	int rows = (int)x->shape[0], most = v->o->microbatch > 0 ? (int)MIN(v->o->microbatch, rows) : rows;
	struct served *size = find_size(v, (int)x->shape[1], (int)x->shape[2]);
	float *outputs[OUTPUTS];
	bool any = false;

	for (enum output i = 0; i < OUTPUTS; i++) {
		const char *name = v->w.names[i];

		outputs[i] = *name ? add_output(name, view, rows, net_width(v->w.net, i), wanted, answer) : NULL;
		any |= outputs[i] != NULL;
	}
	make_room(size, most);
	if (any)
		frozen_run(&v->w, size->pass, x, most, outputs);
}

/* Adds what was asked for upstream to an answer's sources. */
static int take_sources(struct server *v, struct record *sources)
{
	struct record *up;
	int r = stage_take(v->s, &up);

	if (r <= 0)
		return r < 0 ? -1 : fail_code(EXIT_GONE, "the stage in front ended early");
	record_set_int(sources, "epoch", record_int(up, "epoch", 0));
	for (int t = 0; t < up->tensor_count; t++)
		record_add(sources, tensor_share(&up->tensors[t]));
	record_free(up);
	return 0;
}

/* Upstream answers in the order of the wants: before asking for something at once, what was asked for before has to be taken. */
static int take_all(struct server *v)
{
	for (int i = 0; i < v->count; i++) {
		if (v->pending[i].asked && take_sources(v, v->pending[i].sources) < 0)
			return -1;
		v->pending[i].asked = false;
	}
	return 0;
}

static int make_answer(struct server *v, struct pending *p)
{
	int i;

	if (p->asked && take_sources(v, p->sources) < 0)
		return -1;
	record_set_int(p->answer, "epoch", record_int(p->sources, "epoch", 0));
	for (int t = 0; t < p->sources->tensor_count; t++) {
		const struct tensor *x = &p->sources->tensors[t];

		if (record_named(p->want, x->name) && !record_find(p->answer, x->name))
			record_add(p->answer, tensor_share(x));
		if (view_name(x->name, name_rows[NAME_VIEW].prefix, v->views, &i))
			encode_view(v, x, i, p->want, p->answer);
	}
	return 0;
}

static void release_pending(struct pending *p)
{
	record_free(p->want);
	record_free(p->answer);
	record_free(p->sources);
}

static int answer_first(struct server *v)
{
	struct pending p = v->pending[0];
	int r = 0;

	memmove(v->pending, v->pending + 1, --v->count * sizeof(p));
	if (!p.sources && !stage_recall(v->s, p.want, p.answer)) { /* what was coming had other names, or was not kept */
		r = take_all(v);
		if (r == 0)
			gather(v, &p);
	}
	if (r == 0 && p.sources)
		r = make_answer(v, &p);
	if (r == 0 && stage_signal(v->s))
		record_set_int(p.answer, "stop", stage_signal(v->s));
	if (r == 0)
		r = stage_answer(v->s, &(struct request){ .client = p.client }, p.answer);
	release_pending(&p);
	return r;
}

static int serve_requests(struct server *v)
{
	struct request q;

	for (;;) {
		while (v->count < AHEAD) {
			int more = v->count == 0 ? 1 : stage_pending(v->s);

			if (more > 0)
				more = stage_next(v->s, &q);
			if (more < 0)
				return -1;
			if (more == 0)
				break;
			if (q.record->kind == KIND_OPEN ? stage_answer(v->s, &q, v->schema) < 0 : take_want(v, &q) < 0)
				return -1;
		}
		if (v->count == 0)
			return 0;
		if (answer_first(v) < 0)
			return -1;
	}
}

static void release(struct server *v)
{
	for (int i = 0; i < v->count; i++)
		release_pending(&v->pending[i]);
	record_free(v->schema);
	for (int i = 0; i < v->size_count; i++) {
		pass_free(v->sizes[i].pass);
		factors_free(v->sizes[i].factors);
		plan_free(v->sizes[i].plan);
	}
	frozen_release(&v->w);
}

int serve(struct stage *s, const struct options *o)
{
	struct server v = { .s = s, .o = o };
	int r;

	if (stage_connect(s, NULL) < 0 || check_schema(stage_schema(s)) < 0)
		return -1;
	v.views = (int)record_int(stage_schema(s), "fact.views", 1);
	v.batch = (int)record_int(stage_schema(s), "fact.batch", 1);
	r = frozen_load(&v.w, o, stage_schema(s));
	if (r == 0)
		r = plan_sizes(&v);
	if (r == 0 && o->calibrate)
		r = calibrate(s, &v.w, make_room(&v.sizes[0], v.batch), v.batch);
	if (r == 0)
		r = describe(&v);
	if (r == 0)
		r = stage_serve(s, false);
	if (r == 0)
		r = serve_requests(&v);
	release(&v);
	return r;
}
