/* resume.c - how a run goes on: the checkpoint that is taken, and whether this line is the line that made it */
#include "cmd/encode/encode.h"

#include <errno.h>
#include <unistd.h>

/* --- facts --- */

static bool is_fact(const char *name)
{
	return strncmp(name, "fact.", 5) == 0;
}

/* The schedule of the rate is laid over all epochs: a run of more is no longer run of the same kind. */
static int refuse_length(const struct rundir *u, const char *path, const char *saved, const char *value)
{
	return fail_code(EXIT_USAGE,
			 "'%s' is of a run of %s epochs, this line asks for %s, and the rate follows the whole schedule: give "
			 "augment --epochs %s to go on with it, or start a run of %s from its weights: encode -w "
			 "%s/model.safetensors and another -o",
			 path, saved, value, saved, value, u->dir);
}

static int refuse_fact(const struct rundir *u, const char *path, const char *name, const char *saved, const char *value)
{
	if (strcmp(name, "epochs") == 0)
		return refuse_length(u, path, saved, value);
	return fail_code(EXIT_USAGE,
			 "'%s' was made with %s '%s', this line has '%s': repeat its line, or give --fresh or another -o", path,
			 name, saved, value);
}

/* What a checkpoint says of a fact; one from before a fact could be said was made without. */
static const char *saved_fact(const struct tensors *f, const char *name)
{
	static const char *const later[][2] = { { "fact.predictor", "none" }, { "fact.ema_buffers", "no" },
					    { "fact.freeze", "none" }, { "fact.lr", "1" } };
	const char *saved = tensors_meta(f, name);

	for (size_t i = 0; !saved && i < ARRAY_SIZE(later); i++)
		if (strcmp(name, later[i][0]) == 0)
			return later[i][1];
	return saved;
}

/* Compares the facts that both name; the checkpoint keeps them as texts. */
static int check_facts(const struct rundir *u, const char *path, const struct tensors *f)
{
	for (int i = 0; i < u->facts->scalar_count; i++) {
		const struct scalar *s = &u->facts->scalars[i];
		const char *saved = is_fact(s->name) ? saved_fact(f, s->name) : NULL;
		char value[SCALAR_TEXT];

		if (saved && strcmp(saved, record_show(u->facts, s, value, sizeof(value))) != 0)
			return refuse_fact(u, path, s->name + 5, saved, value);
	}
	return 0;
}

enum { LOSS_FACTS = RECORD_CLIENT_FACTS + 1 }; /* an open's, and the empty name of a loss that gave none */

/* What no stage in front names was the loss's: it has yet to come, and name it. */
static int keep_facts(struct rundir *u, const char *path, const struct tensors *f)
{
	for (int i = 0; i < f->meta_count; i++)
		if (is_fact(f->meta[i].key) && strlen(f->meta[i].key) < SCALAR_NAME && !record_scalar(u->facts, f->meta[i].key) &&
		    u->loss->scalar_count <= LOSS_FACTS)
			record_set_text(u->loss, f->meta[i].key, f->meta[i].value);
	if (record_check_facts(u->loss, LOSS_FACTS, "checkpoint's loss") < 0)
		return fail("'%s' has too many facts that no stage of this line names: it is no checkpoint of this line", path);
	record_copy_facts(u->facts, u->loss);
	return 0;
}

static int check_loss_fact(const struct rundir *u, const struct record *open, const struct scalar *s, const char *path)
{
	const struct scalar *named = record_scalar(open, s->name);
	char saved[SCALAR_TEXT], value[SCALAR_TEXT] = "";

	record_show(u->loss, s, saved, sizeof(saved));
	if (named)
		record_show(open, named, value, sizeof(value));
	else if (strcmp(s->name, "fact.loss") != 0)
		return fail_code(EXIT_USAGE,
				 "'%s' was made with %s '%s', which no stage of this line names: repeat its line, or give "
				 "--fresh or another -o",
				 path, s->name + 5, saved);
	return strcmp(saved, value) == 0 ? 0 : refuse_fact(u, path, s->name + 5, saved, value);
}

/* The loss may not say otherwise of what the stages in front have fixed. */
static int check_agreement(const struct rundir *u, const struct record *open)
{
	for (int i = 0; i < open->scalar_count; i++) {
		const struct scalar *s = &open->scalars[i], *fixed = is_fact(s->name) ? record_scalar(u->facts, s->name) : NULL;
		char saved[SCALAR_TEXT], value[SCALAR_TEXT];

		if (!fixed)
			continue;
		record_show(u->facts, fixed, saved, sizeof(saved));
		if (strcmp(saved, record_show(open, s, value, sizeof(value))) != 0)
			return fail_code(EXIT_USAGE, "the loss says %s '%s', but the stages in front '%s'", s->name + 5, value,
					 saved);
	}
	return 0;
}

int rundir_check(struct rundir *u, const struct record *open)
{
	char *path = u->dir ? rundir_path(u, RUNDIR_CHECKPOINT) : NULL;
	int r = 0;

	for (int i = 0; r == 0 && i < u->loss->scalar_count; i++)
		r = check_loss_fact(u, open, &u->loss->scalars[i], path);
	if (r == 0)
		r = check_agreement(u, open);
	if (r == 0) {
		rundir_command(u, record_text(open, "command", ""));
		record_copy_facts(u->facts, open);
		if (!record_scalar(u->facts, "fact.loss")) /* one that gives no name has the empty one */
			record_set_text(u->facts, "fact.loss", "");
	}
	free(path);
	return r;
}

/* --- the checkpoint --- */

int rundir_refuse_step(const struct rundir *u, int64_t step, int64_t other)
{
	return fail_code(EXIT_USAGE,
			 "'%s' is at step %lld, another trained stage of the line at step %lld: give the folders of one run, or "
			 "--fresh to all",
			 u->dir ? u->dir : "a run without -o", (long long)step, (long long)other);
}

enum found { ABSENT, TAKEN, DAMAGED, AHEAD, REFUSED };

static int keep_state(struct rundir *u, const char *path, const struct tensors *f)
{
	for (int i = 0; i < f->count; i++) {
		const struct tensor *t = &f->tensors[i];
		struct tensor copy;

		if (strncmp(t->name, "loss.", 5) != 0)
			continue;
		if (u->state->tensor_count == RECORD_TENSORS - 1)
			return fail("'%s' has more state of a loss than a message holds", path);
		copy = tensor_new(t->name, t->dtype, t->rank, t->shape);
		memcpy(copy.data, t->data, tensor_bytes(t));
		record_add(u->state, copy);
		record_name(u->brings, t->name);
	}
	return 0;
}

/* Should the model be written again before the loss is there, it says what the checkpoint says. */
static void keep_command(struct rundir *u, const struct tensors *f)
{
	const char *saved = tensors_meta(f, "lineage");

	for (const char *c = u->lineage; saved && *c; c++)
		if (*c == '\n')
			saved = strchr(saved, '\n') ? strchr(saved, '\n') + 1 : NULL;
	if (saved)
		rundir_command(u, saved);
}

static void note_changes(const struct tensors *f, const struct record *facts)
{
	static const char *const names[] = { "made.backend", "made.isa", "made.threads" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *then = tensors_meta(f, names[i]), *here = record_text(facts, names[i], "");

		if (then && strcmp(then, here) != 0)
			note("the run was made with %s '%s', now '%s': it goes on, but not byte for byte", names[i] + 5, then,
			     here);
	}
}

static enum found take(struct rundir *u, const char *path, const struct tensors *f, struct trainer *t)
{
	const char *text = tensors_meta(f, "step");
	int64_t step;

	if (!text || parse_int(text, &step) < 0 || step < 1) {
		fail("'%s' has no step: it is no checkpoint", path);
		return DAMAGED;
	}
	if (check_facts(u, path, f) < 0)
		return REFUSED;
	if (u->limit >= 0 && step > u->limit) {
		rundir_refuse_step(u, step, u->limit);
		return AHEAD;
	}
	if (trainer_load(t, f, path) < 0)
		return REFUSED;
	if (trainer_check(t) < 0) {
		char *cause = xstrdup(why());

		fail("'%s' is of no use: %s", path, cause);
		free(cause);
		return DAMAGED;
	}
	if (keep_facts(u, path, f) < 0 || keep_state(u, path, f) < 0)
		return REFUSED;
	keep_command(u, f);
	u->step = u->saved = step;
	note_changes(f, u->facts);
	return TAKEN;
}

static enum found read_checkpoint(struct rundir *u, const char *path, struct trainer *t)
{
	struct tensors f;
	enum found r;

	if (access(path, R_OK) < 0) {
		fail("unable to open '%s':", path);
		return errno == ENOENT ? ABSENT : REFUSED;
	}
	if (safetensors_open(&f, path) < 0)
		return DAMAGED;
	r = take(u, path, &f, t);
	tensors_close(&f);
	return r;
}

/* Of a checkpoint that is no use, or is not there: cause says why. */
static enum found read_previous(struct rundir *u, const char *cause, struct trainer *t)
{
	char *path = rundir_path(u, RUNDIR_PREVIOUS);
	enum found r = read_checkpoint(u, path, t);

	if (r == TAKEN)
		note("%s: '%s' is taken in its place", cause, path);
	else if (r == ABSENT && u->limit == 0)
		note("'%s' starts over: another trained stage of the line was killed before it saved, too", u->dir);
	else if (r == ABSENT)
		fail("%s, and there is none before it: put a copy in its place, or give --fresh to start over", cause);
	else if (r == DAMAGED)
		fail("%s, and '%s' is damaged, too: put a copy in its place, or give --fresh to start over", cause, path);
	free(path);
	return r;
}

int rundir_resume(struct rundir *u, struct trainer *t)
{
	char *path = rundir_path(u, RUNDIR_CHECKPOINT), *previous = rundir_path(u, RUNDIR_PREVIOUS), *cause;
	enum found r = read_checkpoint(u, path, t);

	u->whole = r == TAKEN;
	if (r == DAMAGED || r == AHEAD || (r == ABSENT && access(previous, F_OK) == 0)) {
		bool ahead = r == AHEAD;

		cause = ahead ? xasprintf("the last checkpoint of '%s' is a save ahead of another trained stage", u->dir)
			      : xstrdup(why());
		r = read_previous(u, cause, t);
		r = r == TAKEN || (r == ABSENT && ahead && u->limit == 0) ? r : REFUSED;
		free(cause);
	}
	if (r == TAKEN)
		note("'%s' goes on after step %lld", u->dir, (long long)u->step);
	free(path);
	free(previous);
	return r == TAKEN ? 1 : r == ABSENT ? 0 : -1;
}
