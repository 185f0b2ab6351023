/* run.c - the folder of a run: lock, checkpoint.safetensors (everything), model.safetensors (what others load) */
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

/* --- reading --- */

static char *path_of(const struct run *u, const char *file)
{
	return xasprintf("%s/%s", u->dir, file);
}

/* Compares the facts that both name; the checkpoint keeps them as texts. */
static int check_facts(const char *path, const struct tensors *f, const struct record *facts)
{
	for (int i = 0; i < facts->scalar_count; i++) {
		const struct scalar *s = &facts->scalars[i];
		const char *saved = tensors_meta(f, s->name);
		char value[SCALAR_TEXT];

		if (strncmp(s->name, "fact.", 5) != 0 || !saved)
			continue;
		if (strcmp(saved, record_show(facts, s, value, sizeof(value))) != 0)
			return fail_code(EXIT_USAGE, "'%s' was made with %s '%s', this line has '%s': repeat its line, or give --fresh or another -o",
					 path, s->name + 5, saved, value);
	}
	return 0;
}

static void keep_facts(struct run *u, const struct tensors *f)
{
	for (int i = 0; i < f->meta_count; i++)
		if (strncmp(f->meta[i].key, "fact.", 5) == 0 && !record_scalar(u->facts, f->meta[i].key))
			record_set_text(u->facts, f->meta[i].key, f->meta[i].value);
}

static void keep_state(struct run *u, const struct tensors *f)
{
	for (int i = 0; i < f->count; i++) {
		const struct tensor *t = &f->tensors[i];
		struct tensor copy;

		if (strncmp(t->name, "loss.", 5) != 0)
			continue;
		copy = tensor_new(t->name, t->dtype, t->rank, t->shape);
		memcpy(copy.data, t->data, tensor_bytes(t));
		record_add(u->state, copy);
	}
}

static void note_changes(const struct tensors *f, const struct record *facts)
{
	static const char *const names[] = { "made.backend", "made.isa", "made.threads" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *then = tensors_meta(f, names[i]), *here = record_text(facts, names[i], "");

		if (then && strcmp(then, here) != 0)
			note("the run was made with %s '%s', now '%s': it goes on, but not byte for byte", names[i] + 5, then, here);
	}
}

static int read_checkpoint(struct run *u, const char *path, struct trainer *t)
{
	struct tensors f;
	const char *step;
	int r;

	if (safetensors_open(&f, path) < 0)
		return -1;
	r = check_facts(path, &f, u->facts);
	step = tensors_meta(&f, "step");
	if (r == 0 && (!step || parse_int(step, &u->step) < 0))
		r = fail("'%s' has no step: it is no checkpoint", path);
	if (r == 0)
		r = trainer_load(t, &f, path);
	if (r == 0) {
		note_changes(&f, u->facts);
		keep_facts(u, &f);
		keep_state(u, &f);
		note("'%s' goes on after step %lld", u->dir, (long long)u->step);
	}
	tensors_close(&f);
	return r;
}

/* --- writing --- */

static int metadata(const struct run *u, const struct trainer *t, struct metadata *m, char (*values)[SCALAR_TEXT])
{
	const struct net_config *c = &t->c.net;
	const struct record *f = u->facts;
	int n = 0;

	snprintf(values[n], SCALAR_TEXT, "%lld", (long long)u->step);
	m[n].key = (char *)"step", m[n].value = values[n], n++;
	m[n++] = (struct metadata){ (char *)"arch", (char *)((const struct entry *)c->arch)->name };
	m[n++] = (struct metadata){ (char *)"small", (char *)(c->small ? "yes" : "no") };
	m[n++] = (struct metadata){ (char *)"head", (char *)c->head };
	snprintf(values[n], SCALAR_TEXT, "%d", c->dim);
	m[n].key = (char *)"dim", m[n].value = values[n], n++;
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
static int model_metadata(const struct run *u, struct metadata *m, int n, char (*values)[SCALAR_TEXT])
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

static int write_model(struct run *u, struct trainer *t)
{
	static char values[META_MAX][SCALAR_TEXT];
	struct metadata meta[META_MAX];
	int64_t steps = u->step;
	char *path = path_of(u, "model.safetensors");
	int n = model_collect(t->net, "", t->params, t->buffers, u->staging, u->tensors), m = metadata(u, t, meta, values), r;

	n = add_counters(u->tensors, n, &steps);
	m = model_metadata(u, meta, m, values);
	r = safetensors_write(path, u->tensors, n, meta, m);
	free(path);
	return r;
}

static int write_checkpoint(struct run *u, struct trainer *t, const struct record *grad)
{
	static char values[META_MAX][SCALAR_TEXT];
	struct metadata meta[META_MAX];
	char *path = path_of(u, "checkpoint.safetensors");
	int n = trainer_collect(t, u->staging, u->tensors), m = metadata(u, t, meta, values), r;

	for (int i = 0; i < grad->tensor_count; i++)
		if (strncmp(grad->tensors[i].name, "loss.", 5) == 0)
			u->tensors[n++] = grad->tensors[i];
	r = safetensors_write(path, u->tensors, n, meta, m);
	free(path);
	return r;
}

int run_save(struct run *u, struct trainer *t, const struct record *grad)
{
	if (!u->dir)
		return 0;
	if (write_checkpoint(u, t, grad) < 0)
		return -1;
	test_point("between-files");
	return write_model(u, t);
}

/* A process killed between the two files leaves an older model: write it again from the checkpoint. */
static int refresh_model(struct run *u, struct trainer *t)
{
	char *path = path_of(u, "model.safetensors");
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

int run_open(struct run *u, const char *dir, bool fresh, struct trainer *t, const struct record *facts, const char *lineage)
{
	char *path;
	int r = 0;

	*u = (struct run){ .dir = dir, .lock = -1, .facts = record_new(KIND_SCHEMA), .state = record_new(KIND_SCHEMA) };
	u->lineage = xstrdup(lineage);
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
	path = path_of(u, "checkpoint.safetensors");
	if (!fresh && access(path, F_OK) == 0) {
		r = read_checkpoint(u, path, t);
		if (r == 0)
			r = refresh_model(u, t);
	}
	free(path);
	return r;
}

int run_check(struct run *u, const struct record *facts)
{
	char *path = u->dir ? path_of(u, "checkpoint.safetensors") : NULL;
	struct tensors f;
	int r = 0;

	if (u->step > 0 && path && safetensors_open(&f, path) == 0) {
		r = check_facts(path, &f, facts);
		tensors_close(&f);
	}
	if (r == 0)
		record_copy_facts(u->facts, facts);
	free(path);
	return r;
}

void run_close(struct run *u)
{
	if (u->lock >= 0)
		close(u->lock);
	record_free(u->facts);
	record_free(u->state);
	free(u->lineage);
	free(u->tensors);
	free(u->staging);
}
