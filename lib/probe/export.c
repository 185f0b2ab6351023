#include "lib/probe/export.h"
#include "lib/base/files.h"
#include "lib/tensor/safetensors.h"

static bool ends_with(const char *path, const char *ending)
{
	size_t n = strlen(path), m = strlen(ending);

	return n > m && strcmp(path + n - m, ending) == 0;
}

/* --- safetensors --- */

/* A column of both splits, put together; bytes: of one row. */
static struct tensor join(const char *name, enum dtype d, int64_t width, int64_t rows, const void *train, int64_t train_rows,
			  const void *test)
{
	struct tensor t = tensor_new(name, d, width ? 2 : 1, (int64_t[]){ rows, width });
	size_t head = train_rows * MAX(width, 1) * dtype_size(d);

	if (head)
		memcpy(t.data, train, head);
	if (tensor_bytes(&t) > head)
		memcpy((char *)t.data + head, test, tensor_bytes(&t) - head);
	return t;
}

static int write_safetensors(const struct features *f, const char *path)
{
	const struct samples *a = &f->set[TRAIN], *b = &f->set[TEST];
	int64_t rows = a->count + b->count;
	struct tensor t[FEATURE_VIEWS + 4];
	int n = 0, r;

	for (int v = 0; v < f->views; v++) {
		char name[64];

		snprintf(name, sizeof(name), "%s%d", f->on, v);
		t[n++] = join(name, F32, f->dim, rows, a->x[v], a->count, b->x[v]);
	}
	t[n++] = join("label", I32, 0, rows, a->label, a->count, b->label);
	t[n++] = join("index", I64, 0, rows, a->index, a->count, b->index);
	t[n] = tensor_new("split", I32, 1, &rows);
	for (int64_t i = a->count; i < rows; i++)
		tensor_i32(&t[n])[i] = TEST;
	n++;
	if (f->name_size)
		t[n++] = join("name", U8, f->name_size, rows, a->name, a->count, b->name);
	r = safetensors_write(path, t, n, NULL, 0);
	while (n > 0)
		tensor_release(&t[--n]);
	return r;
}

/* --- npy --- */

/* Magic, version 1.0, length, and a Python literal padded so that data begins at a multiple of 64. Returns the size. */
static size_t npy_header(const struct features *f, char *dst, size_t size)
{
	char text[1024];
	size_t n = 0, total;

	n += snprintf(text + n, sizeof(text) - n, "{'descr': [");
	for (int v = 0; v < f->views; v++)
		n += snprintf(text + n, sizeof(text) - n, "('%s%d', '<f4', (%lld,)), ", f->on, v, (long long)f->dim);
	n += snprintf(text + n, sizeof(text) - n, "('label', '<i4'), ('split', '<i4'), ('index', '<i8')");
	if (f->name_size)
		n += snprintf(text + n, sizeof(text) - n, ", ('name', '|S%d')", f->name_size);
	n += snprintf(text + n, sizeof(text) - n, "], 'fortran_order': False, 'shape': (%lld,), }",
		      (long long)(f->set[TRAIN].count + f->set[TEST].count));
	total = (10 + n + 1 + 63) / 64 * 64;
	if (total > size)
		bug("the npy header is longer than %zu", size);
	memset(dst, ' ', total);
	memcpy(dst, "\x93NUMPY\x01\x00", 8);
	dst[8] = (char)((total - 10) & 255);
	dst[9] = (char)((total - 10) >> 8);
	memcpy(dst + 10, text, n);
	dst[total - 1] = '\n';
	return total;
}

static size_t npy_row(const struct features *f, int split, int64_t i, char *row)
{
	const struct samples *set = &f->set[split];
	int32_t side = split;
	char *at = row;

	for (int v = 0; v < f->views; v++)
		at = mempcpy(at, set->x[v] + i * f->dim, f->dim * sizeof(float));
	at = mempcpy(at, &set->label[i], sizeof(set->label[i]));
	at = mempcpy(at, &side, sizeof(side));
	at = mempcpy(at, &set->index[i], sizeof(set->index[i]));
	if (f->name_size)
		at = mempcpy(at, set->name + i * f->name_size, f->name_size);
	return at - row;
}

static int emit_npy(int fd, void *arg)
{
	const struct features *f = arg;
	char header[1088];
	char *row = xmalloc(f->views * f->dim * sizeof(float) + 16 + f->name_size);
	int r = write_all(fd, header, npy_header(f, header, sizeof(header)));

	for (int s = 0; s < SPLITS; s++)
		for (int64_t i = 0; r == 0 && i < f->set[s].count; i++)
			r = write_all(fd, row, npy_row(f, s, i, row));
	free(row);
	return r;
}

int features_format(const char *path)
{
	if (ends_with(path, ".safetensors"))
		return FEATURES_SAFETENSORS;
	if (ends_with(path, ".npy"))
		return FEATURES_NPY;
	return fail_code(EXIT_USAGE, "unable to tell the format of '%s': its name must end in .safetensors or .npy", path);
}

int features_export(const struct features *f, const char *path)
{
	switch (features_format(path)) {
	case FEATURES_SAFETENSORS:
		return write_safetensors(f, path);
	case FEATURES_NPY:
		return write_whole(path, emit_npy, (void *)f);
	default:
		return -1;
	}
}
