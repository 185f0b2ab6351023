#include "lib/tensor/pth.h"
#include "lib/tensor/pickle.h"
#include "lib/tensor/zip.h"

enum { DEPTH = 16, VISITS = 1 << 20, WRAPPERS = 4, COPIES = 4 };

struct reader {
	const char *path;
	struct tensors *f;
	struct zip zip;
	struct pickle p;
	const char *root;        /* the folder in the archive */
	int room, visits, odd;   /* odd: tensors of types or names that are not read */
	size_t copied;
};

static int refuse(const struct reader *r, const char *cause)
{
	return fail("unable to read '%s': %s; it is damaged, or not written by torch.save", r->path, cause);
}

/* --- tensors --- */

/* Classes of storages. */
static const struct {
	const char *name;
	enum dtype dtype;
} storages[] = {
	{ "FloatStorage", F32 }, { "HalfStorage", F16 }, { "BFloat16Storage", BF16 }, { "DoubleStorage", F64 },
	{ "LongStorage", I64 },	 { "IntStorage", I32 },	 { "ByteStorage", U8 },       { "BoolStorage", U8 },
};

struct span {
	struct tensor t;
	int64_t offset, stride[TENSOR_RANK];   /* in elements */
	int64_t elements;                      /* of the storage */
	const uint8_t *data;
};

static const struct pickle_value *value(const struct reader *r, int i)
{
	static const struct pickle_value none = { .kind = PICKLE_OTHER, .first = -1, .last = -1 };

	return i < 0 ? &none : &r->p.values[i];
}

/* A list of at most TENSOR_RANK numbers, none below 0; how many, or -1. */
static int read_numbers(const struct reader *r, int from, int64_t *out)
{
	int n = 0;

	if (value(r, from)->kind != PICKLE_TUPLE)
		return -1;
	for (int i = value(r, from)->first; i >= 0; i = r->p.links[i].next) {
		const struct pickle_value *v = value(r, r->p.links[i].value);

		if (n == TENSOR_RANK || v->kind != PICKLE_NUMBER || v->number < 0)
			return -1;
		out[n++] = v->number;
	}
	return n;
}

/* ("storage", class, key, device, elements): 1, 0 for a class that is not read, -1. */
static int read_storage(const struct reader *r, int reference, struct span *s)
{
	int id = value(r, reference)->kind == PICKLE_REFERENCE ? value(r, reference)->arguments : -1, type = -1;
	const struct pickle_value *class = value(r, pickle_item(&r->p, id, 1)), *key = value(r, pickle_item(&r->p, id, 2));
	const struct pickle_value *elements = value(r, pickle_item(&r->p, id, 4));
	const struct zip_file *file;
	char name[256];

	for (int i = 0; i < ARRAY_SIZE(storages); i++)
		if (pickle_text_is(class, storages[i].name))
			type = i;
	if (class->kind != PICKLE_NAME || key->kind != PICKLE_TEXT || elements->kind != PICKLE_NUMBER || elements->number < 0)
		return refuse(r, "a tensor has no storage");
	if (type < 0)
		return 0;
	if (format(name, sizeof(name), "%s/data/%.*s", r->root, (int)MIN(key->length, 64), key->text) < 0)
		return refuse(r, "a storage's name is too long");
	file = zip_find(&r->zip, name);
	if (!file)
		return refuse(r, "the archive lacks one of its storages");
	if (file->method != 0)
		return fail("unable to read '%s': the file '%s' in it is compressed: save it again by torch.save", r->path, name);
	s->t.dtype = storages[type].dtype;
	s->elements = elements->number;
	s->data = file->data;
	if ((uint64_t)s->elements > file->size / dtype_size(s->t.dtype))
		return refuse(r, "a storage is shorter than it should be");
	return 1;
}

/* Whether every element lies in the storage; *dense: whether they follow one another. */
static bool check_span(const struct span *s, bool *dense)
{
	int64_t last = s->offset, count = 1, step = 1;
	size_t bytes;

	for (int i = 0; i < s->t.rank; i++)
		if (s->t.shape[i] == 0)
			return *dense = true;
	for (int i = s->t.rank - 1; i >= 0; i--) {
		int64_t reach;

		if (__builtin_mul_overflow(s->t.shape[i] - 1, s->stride[i], &reach) ||
		    __builtin_add_overflow(last, reach, &last) || __builtin_mul_overflow(count, s->t.shape[i], &count))
			return false;
		if (s->t.shape[i] > 1 && s->stride[i] != step)
			*dense = false;
		step = count;
	}
	return last < s->elements && !__builtin_mul_overflow((size_t)count, dtype_size(s->t.dtype), &bytes);
}

/* Copies the elements in order, whatever their strides. */
static void gather(const struct span *s, uint8_t *to)
{
	int64_t at[TENSOR_RANK] = { 0 }, from = s->offset, count = tensor_count(&s->t);
	size_t size = dtype_size(s->t.dtype);

	for (int64_t n = 0; n < count; n++, to += size) {
		memcpy(to, s->data + (size_t)from * size, size);
		for (int i = s->t.rank - 1; i >= 0; i--) {
			from += s->stride[i];
			if (++at[i] < s->t.shape[i])
				break;
			from -= s->stride[i] * at[i];
			at[i] = 0;
		}
	}
}

/* Gives a tensor its memory: the file's, or a copy's. Copies larger together than the file by far are no weights. */
static int place(struct reader *r, struct span *s)
{
	bool dense = true;
	size_t size = dtype_size(s->t.dtype);

	if (!check_span(s, &dense))
		return refuse(r, "a tensor reaches beyond its storage");
	s->t.data = (void *)(s->data + (tensor_count(&s->t) ? (size_t)s->offset * size : 0));
	if (dense && (uintptr_t)s->t.data % size == 0)
		return 0;
	if (tensor_bytes(&s->t) > COPIES * r->f->map_size - MIN(r->copied, COPIES * r->f->map_size))
		return refuse(r, "its tensors repeat a few numbers too often");
	r->copied += tensor_bytes(&s->t);
	s->t.owner = buffer_new(tensor_bytes(&s->t));
	s->t.data = s->t.owner->data;
	gather(s, s->t.data);
	return 0;
}

static void keep(struct reader *r, const struct tensor *t)
{
	if (r->f->count == r->room) {
		r->room = MAX(64, 2 * r->room);
		r->f->tensors = xrealloc(r->f->tensors, r->room, sizeof(*r->f->tensors));
	}
	r->f->tensors[r->f->count++] = *t;
}

/* (storage, offset, shape, strides, ...) */
static int read_tensor(struct reader *r, int arguments, const char *name)
{
	const struct pickle_value *offset = value(r, pickle_item(&r->p, arguments, 1));
	struct span s = { 0 };
	int rank, known = read_storage(r, pickle_item(&r->p, arguments, 0), &s);

	if (known < 0)
		return -1;
	if (known == 0 || !*name || format(s.t.name, sizeof(s.t.name), "%s", name) < 0) {
		r->odd++;
		return 0;
	}
	rank = read_numbers(r, pickle_item(&r->p, arguments, 2), s.t.shape);
	if (rank < 0 || read_numbers(r, pickle_item(&r->p, arguments, 3), s.stride) != rank || offset->kind != PICKLE_NUMBER ||
	    offset->number < 0)
		return refuse(r, "a tensor's shape, strides or offset are no sizes");
	s.t.rank = rank;
	s.offset = offset->number;
	if (place(r, &s) < 0)
		return -1;
	keep(r, &s.t);
	return 0;
}

/* --- the tree --- */

/* Whether a call would make a tensor, and of which *arguments. Parameters and tensors of other classes are tensors in a
 * wrapper. */
static bool is_tensor(const struct reader *r, int at, int *arguments)
{
	for (int i = 0; i < WRAPPERS && value(r, at)->kind == PICKLE_CALL; i++) {
		const struct pickle_value *function = value(r, value(r, at)->function);

		*arguments = value(r, at)->arguments;
		if (pickle_text_is(function, "_rebuild_from_type_v2")) {
			function = value(r, pickle_item(&r->p, *arguments, 0));
			*arguments = pickle_item(&r->p, *arguments, 2);
		}
		if (pickle_text_is(function, "_rebuild_tensor_v2") || pickle_text_is(function, "_rebuild_tensor"))
			return true;
		if (!pickle_text_is(function, "_rebuild_parameter") && !pickle_text_is(function, "_rebuild_parameter_with_state"))
			return false;
		at = pickle_item(&r->p, *arguments, 0);
	}
	return false;
}

static int visit(struct reader *r, int at, const char *name, int depth);

/* A key as text, a number's as its digits, an item's of a list as its place. */
static int visit_links(struct reader *r, int at, const char *name, int depth)
{
	int n = 0;

	for (int i = value(r, at)->first; i >= 0; i = r->p.links[i].next, n++) {
		const struct pickle_link *l = &r->p.links[i];
		const struct pickle_value *key = value(r, l->key);
		char full[4 * TENSOR_NAME];
		bool text = key->kind == PICKLE_TEXT;

		snprintf(full, sizeof(full), "%s%s", name, *name ? "." : "");
		if (text)
			snprintf(full + strlen(full), sizeof(full) - strlen(full), "%.*s", (int)MIN(key->length, TENSOR_NAME),
				 key->text);
		else
			snprintf(full + strlen(full), sizeof(full) - strlen(full), "%lld",
				 key->kind == PICKLE_NUMBER ? (long long)key->number : n);
		if (visit(r, l->value, full, depth + 1) < 0)
			return -1;
	}
	return 0;
}

static int visit(struct reader *r, int at, const char *name, int depth)
{
	int arguments;

	if (depth > DEPTH || r->visits++ > VISITS)
		return refuse(r, "its dictionaries never end");
	if (is_tensor(r, at, &arguments))
		return read_tensor(r, arguments, name);
	return value(r, at)->first >= 0 && value(r, at)->kind != PICKLE_TUPLE ? visit_links(r, at, name, depth) : 0;
}

/* Training code keeps the architecture's name beside the weights. */
static void read_arch(struct reader *r)
{
	for (int i = value(r, r->p.top)->first; i >= 0; i = r->p.links[i].next) {
		const struct pickle_value *key = value(r, r->p.links[i].key), *text = value(r, r->p.links[i].value);

		if (!pickle_text_is(key, "arch") || text->kind != PICKLE_TEXT || r->f->meta_count > 0)
			continue;
		r->f->meta = xcalloc(1, sizeof(*r->f->meta));
		r->f->meta[r->f->meta_count++] = (struct metadata){ xstrdup("arch"),
								    xasprintf("%.*s", (int)MIN(text->length, 64), text->text) };
	}
}

static int read_tree(struct reader *r)
{
	const struct pickle_value *top = value(r, r->p.top);

	if (visit(r, r->p.top, "", 0) < 0)
		return -1;
	if (r->f->count == 0)
		return fail("'%s' holds no tensors in dictionaries%s: save the state_dict of the network, in Python:"
			    " torch.save(net.state_dict(), 'weights.pth')", r->path,
			    top->kind == PICKLE_CALL ? ", but a Python object" : "");
	read_arch(r);
	tensors_sort(r->f);
	for (int i = 1; i < r->f->count; i++)
		if (strcmp(r->f->tensors[i - 1].name, r->f->tensors[i].name) == 0)
			return fail("unable to read '%s': two of its tensors are called '%s'", r->path, r->f->tensors[i].name);
	if (r->odd)
		note("'%s': passed over, for types (complex, int8, ...) or names that are not read: %d of its tensors", r->path,
		     r->odd);
	return 0;
}

/* --- the archive --- */

/* The archive's file root/NAME; NULL when absent. */
static const struct zip_file *member(const struct reader *r, const char *name)
{
	char full[256];

	return format(full, sizeof(full), "%s/%s", r->root, name) < 0 ? NULL : zip_find(&r->zip, full);
}

/* The one folder of the archive: where data.pkl is. */
static char *find_root(const struct zip *z)
{
	static const char end[] = "/data.pkl";
	int n = sizeof(end) - 1;

	for (int i = 0; i < z->count; i++)
		if (z->files[i].name_length >= n && memcmp(z->files[i].name + z->files[i].name_length - n, end, n) == 0)
			return xasprintf("%.*s", z->files[i].name_length - n, z->files[i].name);
	return NULL;
}

static int read_archive(struct reader *r)
{
	const struct zip_file *pickle = r->root ? member(r, "data.pkl") : NULL, *order = r->root ? member(r, "byteorder") : NULL;

	if (!pickle)
		return fail("'%s' is a zip archive without a data.pkl: no weights as torch.save writes them", r->path);
	if (member(r, "constants.pkl"))
		return fail("'%s' is a TorchScript archive: save its weights alone, in Python:"
			    " torch.save(torch.jit.load('%s').state_dict(), 'weights.pth')", r->path, r->path);
	if (order && order->size == 3 && memcmp(order->data, "big", 3) == 0)
		return fail("'%s' was written on a big-endian machine: save it again on a little-endian one", r->path);
	if (pickle->method != 0)
		return fail("unable to read '%s': the files in it are compressed: save it again by torch.save", r->path);
	return pickle_read(&r->p, r->path, pickle->data, pickle->size) < 0 ? -1 : read_tree(r);
}

/* --- the file --- */

static bool starts(const struct tensors *f, const void *magic, size_t n)
{
	return f->map_size >= n && memcmp(f->map, magic, n) == 0;
}

/* Before PyTorch 1.6: pickles one after another, the first of which is a number. */
static bool is_old(const struct tensors *f)
{
	return starts(f, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 14);
}

/* Any other pickle: of protocol 2 to 5. (A safetensors file may begin so, too, but its header follows after 8 bytes.) */
static bool is_pickle(const struct tensors *f)
{
	const uint8_t *map = f->map;

	return f->map_size > 8 && map[0] == 0x80 && map[1] >= 2 && map[1] <= 5 && map[8] != '{';
}

bool pth_is(const struct tensors *f)
{
	return starts(f, "PK\3\4", 4) || is_old(f) || is_pickle(f);
}

int pth_parse(struct tensors *f, const char *path)
{
	struct reader r = { .path = path, .f = f };
	char *root;
	int result;

	if (is_old(f))
		return fail("'%s' is in PyTorch's format from before 1.6: convert it, in Python: import torch;"
			    " torch.save(torch.load('%s', map_location='cpu'), 'weights.pth')", path, path);
	if (is_pickle(f))
		return fail("'%s' is a pickle, but none of torch.save: save a state_dict, in Python: "
		    "torch.save(state, 'weights.pth')", path);
	if (zip_open(&r.zip, path, f->map, f->map_size) < 0)
		return -1;
	r.root = root = find_root(&r.zip);
	result = read_archive(&r);
	pickle_release(&r.p);
	zip_close(&r.zip);
	free(root);
	return result;
}
