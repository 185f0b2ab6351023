/* Plain-argument doors to lib/probe for the tests in Python (ctypes). */
#include "lib/base/threads.h"
#include "lib/probe/probe.h"

int shim_probe(const char *spelling, const char *on, float **x, int views, int64_t n, int64_t dim, int32_t *label, int32_t *split,
	       int64_t *index, uint8_t *name, int name_size, int threads, char *out, size_t size);

enum { BATCH = 97 };

/* The samples reach the probe in batches, the last one short. */
static int fill(struct features *f, float **x, int views, int64_t n, int64_t dim, int32_t *label, int32_t *split, int64_t *index,
		uint8_t *name, int name_size)
{
	for (int64_t i = 0; i < n; i += BATCH) {
		int64_t rows = MIN(BATCH, n - i);
		struct tensor batch[FEATURE_VIEWS + 4];
		int count = 0;

		for (int v = 0; v < views; v++) {
			char view[64];

			snprintf(view, sizeof(view), "%s%d", f->on, v);
			batch[count++] = tensor_borrow(view, F32, 2, (int64_t[]){ rows, dim }, x[v] + i * dim);
		}
		batch[count++] = tensor_borrow("label", I32, 1, &rows, label + i);
		batch[count++] = tensor_borrow("split", I32, 1, &rows, split + i);
		batch[count++] = tensor_borrow("index", I64, 1, &rows, index + i);
		if (name_size)
			batch[count++] = tensor_borrow("name", U8, 2, (int64_t[]){ rows, name_size }, name + i * name_size);
		if (features_add(f, batch, count) < 0)
			return -1;
	}
	return 0;
}

/* Runs one probe; its line goes to out. 0, or the exit code that the sentence kept asks for. */
int shim_probe(const char *spelling, const char *on, float **x, int views, int64_t n, int64_t dim, int32_t *label, int32_t *split,
	       int64_t *index, uint8_t *name, int name_size, int threads, char *out, size_t size)
{
	FILE *text = fmemopen(out, size, "w");
	struct features f;
	struct choice c;
	int r;

	threads_set(threads);
	features_init(&f, on, dim, views, name_size);
	r = choice_parse(&c, &probe_table, spelling);
	if (r == 0)
		r = probe_check(&c);
	if (r == 0)
		r = fill(&f, x, views, n, dim, label, split, index, name, name_size);
	if (r == 0)
		r = probe_run(&c, &f, text);
	features_release(&f);
	fclose(text);
	return r < 0 ? why_code() : 0;
}
