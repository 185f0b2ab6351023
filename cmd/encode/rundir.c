/* rundir.c - the folder of a run: lock, checkpoint.safetensors (everything), the one before, model.safetensors (for others) */
#include "cmd/encode/encode.h"

#include "lib/base/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LOCK_SECONDS = 10, META_MAX = RECORD_SCALARS + 16 };

/* --- the lock --- */

static int refuse_locked(const char *dir, int fd)
{
	char holder[256] = "";
	ssize_t n = pread(fd, holder, sizeof(holder) - 1, 0);

	holder[MAX(n, 0)] = '\0';
	return fail("'%s' is in use by %s: wait for it, or give another -o", dir, *holder ? holder : "another run");
}

/* The lock belongs to the open file, so a killed process gives it back. */
static int lock_folder(const char *dir)
{
	char *path = xasprintf("%s/lock", dir);
	double end = now() + LOCK_SECONDS;
	int fd;

	if (mkdir(dir, 0777) < 0 && errno != EEXIST) {
		free(path);
		return fail("unable to make the folder '%s':", dir);
	}
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	free(path);
	if (fd < 0)
		return fail("unable to write into '%s':", dir);
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (now() > end) {
			refuse_locked(dir, fd);
			close(fd);
			return -1;
		}
		nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
	}
	if (ftruncate(fd, 0) == 0)
		dprintf(fd, "process %ld", (long)getpid());
	return fd;
}

char *rundir_path(const struct rundir *u, const char *file)
{
	return xasprintf("%s/%s", u->dir, file);
}

void rundir_command(struct rundir *u, const char *command)
{
	int n = (int)strcspn(command, "\n");

	u->lineage[u->front] = '\0';
	if (n > 0) {
		char *whole = xasprintf("%s%.*s\n", u->lineage, n, command);

		free(u->lineage);
		u->lineage = whole;
	}
}

/* --- writing --- */

static int metadata(const struct rundir *u, const struct trainer *t, struct metadata *m, char (*values)[SCALAR_TEXT])
{
	const struct net_config *c = &t->c.net;
	const struct record *f = u->facts;
	int n = 0;

	snprintf(values[n], SCALAR_TEXT, "%lld", (long long)u->step);
	m[n].key = (char *)"step", m[n].value = values[n], n++;
	m[n++] = (struct metadata){ (char *)"arch", (char *)((const struct entry *)c->arch)->name };
	m[n++] = (struct metadata){ (char *)"small", (char *)(c->small ? "yes" : "no") };
	m[n++] = (struct metadata){ (char *)"head", (char *)c->head };
	m[n++] = (struct metadata){ (char *)"predictor", (char *)c->predictor };
	snprintf(values[n], SCALAR_TEXT, "%d", c->dim);
	m[n].key = (char *)"dim", m[n].value = values[n], n++;
	snprintf(values[n], SCALAR_TEXT, "%.4f", trainer_unsettled(t, u->step));
	m[n].key = (char *)"bn_unsettled", m[n].value = values[n], n++;
	m[n++] = (struct metadata){ (char *)"format", (char *)"pt" }; /* what Python's safetensors library expects to find */
	m[n++] = (struct metadata){ (char *)"sprat", (char *)SPRAT_VERSION };
	m[n++] = (struct metadata){ (char *)"lineage", u->lineage };
	for (int i = 0; i < f->scalar_count; i++) {
		const char *name = f->scalars[i].name;

		record_show(f, &f->scalars[i], values[n], SCALAR_TEXT);
		m[n] = (struct metadata){ (char *)name, values[n] };
		n++;
	}
	return n;
}

/* size, mean and std stand a second time under the short names that -w reads. */
static int model_metadata(const struct rundir *u, struct metadata *m, int n, char (*values)[SCALAR_TEXT])
{
	static const char *const names[] = { "fact.size", "fact.mean", "fact.std" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const struct scalar *s = record_scalar(u->facts, names[i]);

		if (!s)
			continue;
		m[n] = (struct metadata){ (char *)names[i] + 5, values[n] };
		record_show(u->facts, s, values[n], SCALAR_TEXT);
		n++;
	}
	return n;
}

/* torchvision's BN layers also count their batches. */
static int add_counters(struct tensor *tensors, int n, int64_t *steps)
{
	int count = n;

	for (int i = 0; i < n; i++) {
		size_t at = strlen(tensors[i].name) - MIN(strlen(tensors[i].name), strlen("running_mean"));
		char name[TENSOR_NAME];

		if (strcmp(tensors[i].name + at, "running_mean") != 0)
			continue;
		snprintf(name, sizeof(name), "%.*snum_batches_tracked", (int)at, tensors[i].name);
		tensors[count++] = tensor_borrow(name, I64, 0, NULL, steps);
	}
	return count;
}

static int write_model(struct rundir *u, struct trainer *t)
{
	static char values[META_MAX][SCALAR_TEXT];
	struct metadata meta[META_MAX];
	int64_t steps = u->step;
	char *path = rundir_path(u, "model.safetensors");
	int n = model_collect(t->net, "", LAYERS_ALL, t->params, t->buffers, u->staging, u->tensors), m, r;

	m = metadata(u, t, meta, values);
	n = add_counters(u->tensors, n, &steps);
	m = model_metadata(u, meta, m, values);
	r = safetensors_write(path, u->tensors, n, meta, m);
	free(path);
	return r;
}

static int write_checkpoint(struct rundir *u, struct trainer *t, const struct record *grad)
{
	static char values[META_MAX][SCALAR_TEXT];
	struct metadata meta[META_MAX];
	char *path = rundir_path(u, RUNDIR_CHECKPOINT), *previous = rundir_path(u, RUNDIR_PREVIOUS);
	int n = trainer_collect(t, u->staging, u->tensors), m = metadata(u, t, meta, values), r;

	for (int i = 0; i < grad->tensor_count; i++)
		if (strncmp(grad->tensors[i].name, "loss.", 5) == 0)
			u->tensors[n++] = grad->tensors[i];
	if (u->fresh)
		unlink(previous); /* another run's: it must not be gone on from */
	r = safetensors_replace(path, u->whole ? previous : NULL, u->tensors, n, meta, m);
	free(path);
	free(previous);
	return r;
}

int rundir_expect(const struct rundir *u, const struct record *grad)
{
	for (int i = 0; i < u->brings->name_count; i++)
		if (!record_find(grad, u->brings->names[i]))
			return fail("the loss sent no '%s' to be saved in step %lld, which the checkpoint has: nothing is saved, "
				    "the checkpoint stays as it was",
				    u->brings->names[i], (long long)u->step + 1);
	return 0;
}

static void remember_names(struct rundir *u, const struct record *grad)
{
	record_reset(u->brings, KIND_WANT);
	for (int i = 0; i < grad->tensor_count; i++)
		if (strncmp(grad->tensors[i].name, "loss.", 5) == 0)
			record_name(u->brings, grad->tensors[i].name);
}

static int refuse_save(const struct rundir *u)
{
	char *cause = xstrdup(why());

	if (u->saved > 0)
		fail("%s; the run is saved up to step %lld: the same line goes on from there", cause, (long long)u->saved);
	else
		fail("%s; nothing of the run is saved", cause);
	free(cause);
	return -1;
}

int rundir_save(struct rundir *u, struct trainer *t, const struct record *grad)
{
	if (!u->dir)
		return 0;
	if (write_checkpoint(u, t, grad) < 0)
		return refuse_save(u);
	u->whole = true;
	u->fresh = false;
	u->saved = u->step;
	remember_names(u, grad);
	test_point("between-files");
	return write_model(u, t) < 0 ? refuse_save(u) : 0;
}

bool rundir_step_back(struct rundir *u)
{
	char *path = rundir_path(u, RUNDIR_CHECKPOINT), *previous = rundir_path(u, RUNDIR_PREVIOUS);
	bool done = u->whole && rename(previous, path) == 0;

	free(path);
	free(previous);
	return done;
}

/* A process killed between the two files leaves an older model: write it again from the checkpoint. */
static int refresh_model(struct rundir *u, struct trainer *t)
{
	char *path = rundir_path(u, "model.safetensors");
	struct tensors f;
	bool current = false;
	int64_t step = -1;

	if (access(path, F_OK) == 0 && safetensors_open(&f, path) == 0) {
		const char *text = tensors_meta(&f, "step");

		current = text && parse_int(text, &step) == 0 && step == u->step;
		tensors_close(&f);
	}
	free(path);
	return current ? 0 : write_model(u, t);
}

/* --- life cycle --- */

int rundir_open(struct rundir *u, const char *dir, bool fresh, int64_t limit, struct trainer *t, const struct record *facts,
		const char *lineage)
{
	int r;

	*u = (struct rundir){ .dir = dir, .lock = -1, .fresh = fresh, .limit = limit, .facts = record_new(KIND_SCHEMA),
			      .loss = record_new(KIND_SCHEMA), .state = record_new(KIND_SCHEMA),
			      .brings = record_new(KIND_WANT) };
	u->lineage = xstrdup(lineage);
	u->front = strlen(lineage);
	u->tensors = xcalloc(trainer_count(t) + RECORD_TENSORS, sizeof(*u->tensors));
	for (int i = 0; i < facts->scalar_count; i++) /* also made.*, which is no fact */
		if (strncmp(facts->scalars[i].name, "made.", 5) == 0)
			record_set_text(u->facts, facts->scalars[i].name, record_text(facts, facts->scalars[i].name, ""));
	record_copy_facts(u->facts, facts);
	if (!dir)
		return 0;
	u->staging = xaligned(trainer_staging(t));
	u->lock = lock_folder(dir);
	if (u->lock < 0)
		return -1;
	r = fresh ? 0 : rundir_resume(u, t);
	return r > 0 ? refresh_model(u, t) : r;
}

void rundir_close(struct rundir *u)
{
	if (u->lock >= 0)
		close(u->lock);
	record_free(u->facts);
	record_free(u->loss);
	record_free(u->state);
	record_free(u->brings);
	free(u->lineage);
	free(u->tensors);
	free(u->staging);
}
