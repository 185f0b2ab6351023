#include "lib/tensor/safetensors.h"

#include <jansson.h>
#include <zlib.h>

#include "lib/base/files.h"

enum { HEADER_MAX = 100000000 }; /* the format's limit */

static const char *const spellings[DTYPES] = {
	[U8] = "U8", [I32] = "I32", [I64] = "I64", [F32] = "F32", [F16] = "F16", [BF16] = "BF16", [F64] = "F64",
};

/* --- the checksum --- */

/* Two keys tell of it: one flipped byte cannot hide that a file has one. */
#define SUM_KEY "sprat.crc32"
#define SUM_OF_KEY "sprat.crc32_of"
static const char sum_of[] = "the file with 00000000 for " SUM_KEY, no_sum[] = "00000000";
enum { SUM_DIGITS = sizeof(no_sum) - 1 };

/* Offset of its digits in a header's text, 0: there are none. Quotes within a text are escaped, so this is no part of one. */
static size_t find_sum(const char *header, size_t size)
{
	static const char front[] = "\"" SUM_KEY "\":\"";
	const char *p = memmem(header, size, front, sizeof(front) - 1);
	size_t at = p ? (size_t)(p - header) + sizeof(front) - 1 : 0;

	return p && at + SUM_DIGITS < size && header[at + SUM_DIGITS] == '"' ? at : 0;
}

static void show_sum(uLong sum, char digits[SUM_DIGITS + 1])
{
	snprintf(digits, SUM_DIGITS + 1, "%08lx", sum & 0xffffffff);
}

/* Of a file that has its digits at an offset. */
static uLong sum_around(const uint8_t *file, size_t size, size_t at)
{
	uLong sum = crc32_z(0, file, at);

	sum = crc32_z(sum, (const uint8_t *)no_sum, SUM_DIGITS);
	return crc32_z(sum, file + at + SUM_DIGITS, size - at - SUM_DIGITS);
}

/* Whether we have written the header: another program's has the keys in another place, and the checksum of the file that it
 * read. */
static bool is_ours(const char *header, size_t size, size_t at)
{
	static const char front[] = "{\"__metadata__\":{\"" SUM_KEY "\":\"", back[] = "\",\"" SUM_OF_KEY "\":\"";
	size_t behind = at + SUM_DIGITS;

	return at == sizeof(front) - 1 && memcmp(header, front, at) == 0 && behind + sizeof(back) <= size &&
	       memcmp(header + behind, back, sizeof(back) - 1) == 0;
}

/* strict: it is a file that nobody else writes. */
static int check_sum(const char *path, const struct tensors *f, bool strict)
{
	const char *header = (const char *)f->map + 8;
	char digits[SUM_DIGITS + 1];
	uint64_t size;
	size_t at;

	if (!tensors_meta(f, SUM_KEY) && !tensors_meta(f, SUM_OF_KEY))
		return 0;
	memcpy(&size, f->map, 8);
	at = find_sum(header, size);
	if (!strict && !is_ours(header, size, at))
		return 0;
	if (at > 0)
		show_sum(sum_around(f->map, f->map_size, 8 + at), digits);
	if (at == 0 || memcmp(header + at, digits, SUM_DIGITS) != 0)
		return fail("unable to read '%s': its checksum does not fit: it is damaged", path);
	return 0;
}

/* --- reading --- */

static int refuse(const char *path, const char *cause)
{
	return fail("unable to read '%s': %s; it is damaged or no safetensors file", path, cause);
}

static int read_dtype(const json_t *entry)
{
	const char *name = json_string_value(json_object_get(entry, "dtype"));

	for (int d = 0; name && d < DTYPES; d++)
		if (strcmp(spellings[d], name) == 0)
			return d;
	return -1;
}

static int read_shape(const json_t *shape, struct tensor *t, size_t *bytes)
{
	size_t rank = json_array_size(shape);

	if (!json_is_array(shape) || rank > TENSOR_RANK)
		return -1;
	t->rank = (int)rank;
	*bytes = dtype_size(t->dtype);
	for (size_t i = 0; i < rank; i++) {
		json_t *n = json_array_get(shape, i);

		if (!json_is_integer(n) || json_integer_value(n) < 0)
			return -1;
		t->shape[i] = json_integer_value(n);
		if (__builtin_mul_overflow(*bytes, (size_t)t->shape[i], bytes))
			return -1;
	}
	return 0;
}

/* Fills one tensor from its header entry; data_size: bytes after the header. */
static int read_entry(const char *path, const char *name, const json_t *entry, struct tensor *t, uint8_t *data, size_t data_size)
{
	const json_t *offsets = json_object_get(entry, "data_offsets");
	json_int_t begin = json_integer_value(json_array_get(offsets, 0));
	json_int_t end = json_integer_value(json_array_get(offsets, 1));
	int dtype = read_dtype(entry);
	size_t bytes;

	if (strlen(name) >= sizeof(t->name))
		return refuse(path, "a tensor's name is too long");
	if (dtype < 0)
		return fail("unable to read '%s': tensor '%s' has a dtype that is not supported", path, name);
	memset(t, 0, sizeof(*t));
	strcpy(t->name, name);
	t->dtype = dtype;
	if (read_shape(json_object_get(entry, "shape"), t, &bytes) < 0)
		return refuse(path, "a tensor's shape is no list of sizes");
	if (json_array_size(offsets) != 2 || begin < 0 || end < begin || (uint64_t)end > data_size ||
	    (size_t)(end - begin) != bytes)
		return refuse(path, "a tensor's offsets do not fit its shape or the file");
	t->data = data + begin;
	return 0;
}

static int by_offset(const void *a, const void *b)
{
	const struct tensor *x = a, *y = b;

	if (x->data != y->data)
		return (const char *)x->data < (const char *)y->data ? -1 : 1;
	return (tensor_bytes(x) > tensor_bytes(y)) - (tensor_bytes(x) < tensor_bytes(y));
}

/* The reference implementation refuses holes and overlaps: nothing may hide between tensors. */
static int check_contiguous(const char *path, struct tensors *f, const uint8_t *data, size_t data_size)
{
	const uint8_t *next = data;

	qsort(f->tensors, f->count, sizeof(*f->tensors), by_offset);
	for (int i = 0; i < f->count; i++) {
		if (f->tensors[i].data != next)
			return refuse(path, "tensors overlap or leave holes");
		next += tensor_bytes(&f->tensors[i]);
	}
	if (next != data + data_size)
		return refuse(path, "the file's length does not match its header");
	tensors_sort(f);
	return 0;
}

/* Files written elsewhere may put an 8-byte type at any offset: give such tensors memory of their own. */
static void align(struct tensors *f)
{
	for (int i = 0; i < f->count; i++) {
		struct tensor *t = &f->tensors[i];

		if ((uintptr_t)t->data % dtype_size(t->dtype) != 0) {
			t->owner = buffer_new(tensor_bytes(t));
			memcpy(t->owner->data, t->data, tensor_bytes(t));
			t->data = t->owner->data;
		}
	}
}

static int read_metadata(const char *path, struct tensors *f, json_t *meta)
{
	const char *key;
	json_t *value;

	if (!json_is_object(meta) && !json_is_null(meta))
		return refuse(path, "its metadata is no map of texts");
	f->meta = xcalloc(json_object_size(meta), sizeof(*f->meta));
	json_object_foreach(meta, key, value) {
		if (!json_is_string(value))
			return refuse(path, "its metadata is no map of texts");
		f->meta[f->meta_count].key = xstrdup(key);
		f->meta[f->meta_count++].value = xstrdup(json_string_value(value));
	}
	return 0;
}

static int read_header(const char *path, struct tensors *f, json_t *header, uint8_t *data, size_t data_size)
{
	const char *name;
	json_t *entry;

	f->tensors = xcalloc(json_object_size(header), sizeof(*f->tensors));
	json_object_foreach(header, name, entry) {
		if (strcmp(name, "__metadata__") == 0) {
			if (read_metadata(path, f, entry) < 0)
				return -1;
		} else if (read_entry(path, name, entry, &f->tensors[f->count], data, data_size) < 0) {
			return -1;
		} else {
			f->count++;
		}
	}
	if (check_contiguous(path, f, data, data_size) < 0)
		return -1;
	align(f);
	return 0;
}

int safetensors_parse(struct tensors *f, const char *path)
{
	uint8_t *map = f->map;
	uint64_t n;
	json_error_t error;
	json_t *header;
	int r;

	memcpy(&n, map, 8);
	if (n > HEADER_MAX || n > f->map_size - 8)
		return refuse(path, "its header is longer than the file or the format allows");
	header = json_loadb((const char *)map + 8, n, JSON_REJECT_DUPLICATES, &error);
	if (!json_is_object(header)) {
		json_decref(header);
		return refuse(path, "its header is no JSON object");
	}
	r = read_header(path, f, header, map + 8 + n, f->map_size - 8 - n);
	json_decref(header);
	return r < 0 ? -1 : check_sum(path, f, false);
}

int safetensors_open(struct tensors *f, const char *path)
{
	if (tensors_map(f, path) < 0)
		return -1;
	if (safetensors_parse(f, path) < 0 || check_sum(path, f, true) < 0) {
		tensors_close(f);
		return -1;
	}
	return 0;
}

/* --- writing --- */

struct file {
	const char *path;
	char *header;
	const struct tensor **order;
	int count;
};

static int by_alignment(const void *a, const void *b)
{
	const struct tensor *x = *(const struct tensor *const *)a, *y = *(const struct tensor *const *)b;
	size_t sx = dtype_size(x->dtype), sy = dtype_size(y->dtype);

	if (sx != sy)
		return sx > sy ? -1 : 1;
	return strcmp(x->name, y->name);
}

static json_t *describe(const struct tensor *t, int64_t offset)
{
	json_t *shape = json_array();

	for (int i = 0; i < t->rank; i++)
		json_array_append_new(shape, json_integer(t->shape[i]));
	return json_pack("{s:s, s:o, s:[I, I]}", "dtype", spellings[t->dtype], "shape", shape, "data_offsets", (json_int_t)offset,
			 (json_int_t)(offset + tensor_bytes(t)));
}

/* A name stands for one tensor, and one name is the format's own. */
static int check_names(const char *path, const struct file *file)
{
	json_t *names = json_pack("{s:b}", "__metadata__", true);
	int r = 0;

	for (int i = 0; i < file->count && r == 0; i++) {
		if (json_object_get(names, file->order[i]->name))
			r = fail("unable to write '%s': the name '%s' is taken", path, file->order[i]->name);
		json_object_set_new(names, file->order[i]->name, json_true());
	}
	json_decref(names);
	return r;
}

static bool add_texts(json_t *texts, const struct metadata *meta, int count)
{
	bool good = true;

	if (count > 0) {
		json_object_set_new(texts, SUM_KEY, json_string(no_sum));
		json_object_set_new(texts, SUM_OF_KEY, json_string(sum_of));
	}
	for (int i = 0; i < count; i++)
		good &= json_object_set_new(texts, meta[i].key, json_string(meta[i].value)) == 0;
	return good;
}

/* Header text padded to a multiple of 8 with spaces; NULL after fail(). */
static char *compose(const char *path, const struct file *file, const struct metadata *meta, int meta_count)
{
	json_t *header, *texts;
	int64_t offset = 0;
	char *text = NULL, *padded;
	bool good;

	if (check_names(path, file) < 0)
		return NULL;
	header = json_object();
	texts = json_object();
	good = add_texts(texts, meta, meta_count);
	if (meta_count > 0)
		json_object_set(header, "__metadata__", texts);
	for (int i = 0; i < file->count; i++) {
		good &= json_object_set_new(header, file->order[i]->name, describe(file->order[i], offset)) == 0;
		offset += tensor_bytes(file->order[i]);
	}
	if (good)
		text = json_dumps(header, JSON_COMPACT);
	json_decref(texts);
	json_decref(header);
	if (!text) {
		fail("unable to write '%s': a name or a metadata value is no UTF-8 text", path);
		return NULL;
	}
	padded = xasprintf("%s%*s", text, (int)(-strlen(text) % 8), "");
	free(text);
	return padded;
}

/* Puts the checksum into the header, which is complete but for it. */
static void seal(struct file *file)
{
	uint64_t n = strlen(file->header);
	size_t at = find_sum(file->header, n);
	char digits[SUM_DIGITS + 1];
	uLong sum;

	if (at == 0)
		return;
	sum = crc32_z(0, (const uint8_t *)&n, 8);
	sum = crc32_z(sum, (const uint8_t *)file->header, n);
	for (int i = 0; i < file->count; i++)
		if (tensor_bytes(file->order[i]) > 0) /* NULL would begin anew */
			sum = crc32_z(sum, file->order[i]->data, tensor_bytes(file->order[i]));
	show_sum(sum, digits);
	memcpy(file->header + at, digits, SUM_DIGITS);
}

static int emit(int fd, void *arg)
{
	const struct file *file = arg;
	uint64_t n = strlen(file->header);

	if (write_all(fd, &n, 8) < 0 || write_all(fd, file->header, n) < 0)
		return fail("unable to write '%s':", file->path);
	for (int i = 0; i < file->count; i++)
		if (write_all(fd, file->order[i]->data, tensor_bytes(file->order[i])) < 0)
			return fail("unable to write '%s':", file->path);
	return 0;
}

int safetensors_write(const char *path, const struct tensor *tensors, int count, const struct metadata *meta, int meta_count)
{
	return safetensors_replace(path, NULL, tensors, count, meta, meta_count);
}

int safetensors_replace(const char *path, const char *kept, const struct tensor *tensors, int count, const struct metadata *meta,
			int meta_count)
{
	struct file file = { .path = path, .order = xcalloc(count, sizeof(*file.order)), .count = count };
	int r;

	for (int i = 0; i < count; i++)
		file.order[i] = &tensors[i];
	qsort(file.order, count, sizeof(*file.order), by_alignment);
	file.header = compose(path, &file, meta, meta_count);
	if (file.header)
		seal(&file);
	r = file.header ? write_keeping(path, kept, emit, &file) : -1;
	free(file.header);
	free(file.order);
	return r;
}
