#include "lib/stream/wire.h"

#include <msgpack.h>

enum { DEPTH_MAX = 6 };

/* --- packing --- */

static void pack_text(msgpack_packer *p, const char *s)
{
	msgpack_pack_str_with_body(p, s, strlen(s));
}

static void pack_scalars(msgpack_packer *p, const struct record *r)
{
	pack_text(p, "scalars");
	msgpack_pack_map(p, r->scalar_count);
	for (int i = 0; i < r->scalar_count; i++) {
		const struct scalar *s = &r->scalars[i];

		pack_text(p, s->name);
		switch (s->type) {
		case SCALAR_BOOL:
			if (s->flag)
				msgpack_pack_true(p);
			else
				msgpack_pack_false(p);
			break;
		case SCALAR_INT:
			msgpack_pack_int64(p, s->integer);
			break;
		case SCALAR_REAL:
			msgpack_pack_double(p, s->real);
			break;
		case SCALAR_STR:
			pack_text(p, r->texts + s->text);
			break;
		}
	}
}

static void pack_specs(msgpack_packer *p, const char *key, const struct tensor *list, int count)
{
	pack_text(p, key);
	msgpack_pack_array(p, count);
	for (int i = 0; i < count; i++) {
		msgpack_pack_array(p, 3);
		pack_text(p, list[i].name);
		pack_text(p, dtype_name(list[i].dtype));
		msgpack_pack_array(p, list[i].rank);
		for (int d = 0; d < list[i].rank; d++)
			msgpack_pack_int64(p, list[i].shape[d]);
	}
}

static void pack_names(msgpack_packer *p, const struct record *r)
{
	pack_text(p, "names");
	msgpack_pack_array(p, r->name_count);
	for (int i = 0; i < r->name_count; i++)
		pack_text(p, r->names[i]);
}

struct buffer *wire_pack(const struct record *r)
{
	struct buffer *out;
	msgpack_sbuffer sb;
	msgpack_packer p;

	msgpack_sbuffer_init(&sb);
	msgpack_packer_init(&p, &sb, msgpack_sbuffer_write);
	msgpack_pack_map(&p, 2 + (r->tensor_count > 0) + (r->offer_count > 0) + (r->name_count > 0));
	pack_text(&p, "kind");
	pack_text(&p, kind_name(r->kind));
	pack_scalars(&p, r);
	if (r->tensor_count)
		pack_specs(&p, "tensors", r->tensors, r->tensor_count);
	if (r->offer_count)
		pack_specs(&p, "offers", r->offers, r->offer_count);
	if (r->name_count)
		pack_names(&p, r);
	if (sb.size > WIRE_HEADER_MAX) {
		fail("a '%s' header of %zu bytes exceeds the wire's limit of %d", kind_name(r->kind), sb.size, WIRE_HEADER_MAX);
		msgpack_sbuffer_destroy(&sb);
		return NULL;
	}
	out = buffer_new(sb.size);
	memcpy(out->data, sb.data, sb.size);
	msgpack_sbuffer_destroy(&sb);
	return out;
}

/* --- scanning: msgpack-c allocates for a declared count before it has seen the elements --- */

struct scan {
	const uint8_t *at, *end;
	const char *wrong;        /* what it holds that may not be sent; NULL: it is cut short, or nests too deep */
};

static bool take(struct scan *s, size_t n)
{
	if ((size_t)(s->end - s->at) < n)
		return false;
	s->at += n;
	return true;
}

static bool take_count(struct scan *s, int bytes, uint32_t *count)
{
	const uint8_t *p = s->at;

	if (!take(s, bytes))
		return false;
	*count = 0;
	for (int i = 0; i < bytes; i++)
		*count = *count << 8 | p[i];
	return true;
}

static bool scan_value(struct scan *s, int depth);

static bool scan_many(struct scan *s, uint32_t count, int depth)
{
	if (depth >= DEPTH_MAX || count > (size_t)(s->end - s->at))
		return false;
	while (count-- > 0)
		if (!scan_value(s, depth + 1))
			return false;
	return true;
}

static bool scan_text(struct scan *s, int bytes)
{
	uint32_t n;

	return take_count(s, bytes, &n) && take(s, n);
}

static bool scan_container(struct scan *s, int bytes, int each, int depth)
{
	uint32_t n;

	return take_count(s, bytes, &n) && n <= WIRE_HEADER_MAX && scan_many(s, n * each, depth);
}

/* Accepts what wire.5 allows: bool, ints, floats, str, array, map. No bin, no ext. */
static bool scan_value(struct scan *s, int depth)
{
	static const uint8_t sizes[] = { [0xca - 0xca] = 4, 8, 1, 2, 4, 8, 1, 2, 4, 8 };
	uint8_t tag;

	if (s->at == s->end)
		return false;
	tag = *s->at++;
	if (tag < 0x80 || tag >= 0xe0 || tag == 0xc2 || tag == 0xc3)
		return true;
	if (tag < 0x90)
		return scan_many(s, 2u * (tag & 15), depth);
	if (tag < 0xa0)
		return scan_many(s, tag & 15, depth);
	if (tag < 0xc0)
		return take(s, tag & 31);
	if (tag >= 0xca && tag <= 0xd3)
		return take(s, sizes[tag - 0xca]);
	if (tag >= 0xd9 && tag <= 0xdb)
		return scan_text(s, 1 << (tag - 0xd9));
	if (tag == 0xdc || tag == 0xdd)
		return scan_container(s, tag == 0xdc ? 2 : 4, 1, depth);
	if (tag == 0xde || tag == 0xdf)
		return scan_container(s, tag == 0xde ? 2 : 4, 2, depth);
	s->wrong = tag == 0xc0 ? "nil (None in Python)" : tag >= 0xc4 && tag <= 0xc6 ? "a value of type bin (bytes in Python)" :
		   tag == 0xc1 ? "a byte that is no MessagePack" : "a value of type ext";
	return false;
}

/* --- unpacking --- */

static int refuse(const char *cause)
{
	return fail("refused a message: %s", cause);
}

static bool is_text(const msgpack_object *o, const char *s)
{
	return o->type == MSGPACK_OBJECT_STR && o->via.str.size == strlen(s) && memcmp(o->via.str.ptr, s, o->via.str.size) == 0;
}

static int copy_text(char *dst, size_t size, const msgpack_object *o)
{
	if (o->type != MSGPACK_OBJECT_STR || o->via.str.size >= size || memchr(o->via.str.ptr, 0, o->via.str.size))
		return -1;
	memcpy(dst, o->via.str.ptr, o->via.str.size);
	dst[o->via.str.size] = '\0';
	return 0;
}

static int unpack_scalar(struct record *r, const char *name, const msgpack_object *v)
{
	char text[SCALAR_TEXT];

	switch (v->type) {
	case MSGPACK_OBJECT_BOOLEAN:
		record_set_bool(r, name, v->via.boolean);
		return 0;
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		if (v->via.u64 > INT64_MAX)
			return refuse("an integer above 2^63-1");
		record_set_int(r, name, (int64_t)v->via.u64);
		return 0;
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		record_set_int(r, name, v->via.i64);
		return 0;
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
		record_set_real(r, name, v->via.f64);
		return 0;
	case MSGPACK_OBJECT_STR:
		if (copy_text(text, sizeof(text), v) < 0)
			return fail("refused a message: the text of '%s' is longer than %d bytes, or holds NUL", name,
				    SCALAR_TEXT - 1);
		if (r->texts_used + strlen(text) + 1 > sizeof(r->texts))
			return fail("refused a message: all its texts are longer than %zu bytes", sizeof(r->texts));
		record_set_text(r, name, text);
		return 0;
	default:
		return fail("refused a message: the scalar '%s' is no number, text or bool", name);
	}
}

static int unpack_scalars(struct record *r, const msgpack_object *map)
{
	char name[SCALAR_NAME];

	if (map->type != MSGPACK_OBJECT_MAP || map->via.map.size > RECORD_SCALARS)
		return refuse("'scalars' is no map or has too many entries");
	for (uint32_t i = 0; i < map->via.map.size; i++) {
		const msgpack_object_kv *kv = &map->via.map.ptr[i];

		if (copy_text(name, sizeof(name), &kv->key) < 0)
			return refuse("a scalar's name is no short text");
		if (record_scalar(r, name))
			return fail("refused a message: the scalar '%s' stands twice", name);
		if (unpack_scalar(r, name, &kv->val) < 0)
			return -1;
	}
	return 0;
}

static int unpack_shape(struct tensor *t, const msgpack_object *shape)
{
	size_t bytes = dtype_size(t->dtype);

	if (shape->type != MSGPACK_OBJECT_ARRAY || shape->via.array.size > TENSOR_RANK)
		return refuse("a tensor's shape is no list of at most 8 sizes");
	t->rank = (int)shape->via.array.size;
	for (int d = 0; d < t->rank; d++) {
		const msgpack_object *n = &shape->via.array.ptr[d];

		if (n->type != MSGPACK_OBJECT_POSITIVE_INTEGER || n->via.u64 > INT32_MAX ||
		    __builtin_mul_overflow(bytes, (size_t)n->via.u64, &bytes) || bytes > INT64_MAX / 2)
			return refuse("a tensor's size is no small whole number");
		t->shape[d] = (int64_t)n->via.u64;
	}
	return 0;
}

static int unpack_specs(struct tensor *list, int *count, const msgpack_object *specs)
{
	char dtype[8];

	if (specs->type != MSGPACK_OBJECT_ARRAY || specs->via.array.size > RECORD_TENSORS)
		return refuse("a list of tensors is no array or has too many entries");
	for (uint32_t i = 0; i < specs->via.array.size; i++) {
		const msgpack_object *spec = &specs->via.array.ptr[i];
		struct tensor t = { 0 };

		if (spec->type != MSGPACK_OBJECT_ARRAY || spec->via.array.size != 3 ||
		    copy_text(t.name, sizeof(t.name), &spec->via.array.ptr[0]) < 0 ||
		    copy_text(dtype, sizeof(dtype), &spec->via.array.ptr[1]) < 0)
			return refuse("a tensor is not described as [name, dtype, shape]");
		for (int k = 0; k < *count; k++)
			if (strcmp(list[k].name, t.name) == 0)
				return fail("refused a message: '%s' stands twice in a list of tensors", t.name);
		if (dtype_find(dtype) < 0 || dtype_find(dtype) > F32)
			return fail("refused a message: '%s' has the dtype '%s', which is none of u8, i32, i64, f32", t.name,
				    dtype);
		t.dtype = dtype_find(dtype);
		if (unpack_shape(&t, &spec->via.array.ptr[2]) < 0)
			return -1;
		list[(*count)++] = t;
	}
	return 0;
}

static int unpack_names(struct record *r, const msgpack_object *names)
{
	char name[TENSOR_NAME];

	if (names->type != MSGPACK_OBJECT_ARRAY || names->via.array.size > RECORD_NAMES)
		return refuse("'names' is no array or has too many entries");
	for (uint32_t i = 0; i < names->via.array.size; i++) {
		if (copy_text(name, sizeof(name), &names->via.array.ptr[i]) < 0)
			return refuse("a name is no short text");
		if (record_named(r, name))
			return fail("refused a message: '%s' stands twice in 'names'", name);
		record_name(r, name);
	}
	return 0;
}

static int unpack_kind(struct record *r, const msgpack_object *kind)
{
	for (int k = 0; k < KINDS; k++)
		if (is_text(kind, kind_name(k))) {
			r->kind = k;
			return 0;
		}
	return refuse("its kind is unknown");
}

static int unpack_field(struct record *r, const msgpack_object_kv *kv)
{
	if (is_text(&kv->key, "kind"))
		return unpack_kind(r, &kv->val);
	if (is_text(&kv->key, "scalars"))
		return r->scalar_count ? refuse("'scalars' stands twice") : unpack_scalars(r, &kv->val);
	if (is_text(&kv->key, "tensors"))
		return r->tensor_count ? refuse("'tensors' stands twice") : unpack_specs(r->tensors, &r->tensor_count, &kv->val);
	if (is_text(&kv->key, "offers"))
		return r->offer_count ? refuse("'offers' stands twice") : unpack_specs(r->offers, &r->offer_count, &kv->val);
	if (is_text(&kv->key, "names"))
		return r->name_count ? refuse("'names' stands twice") : unpack_names(r, &kv->val);
	return 0; /* later versions may say more */
}

static int unpack_map(struct record *r, const msgpack_object *map)
{
	bool has_kind = false;

	if (map->type != MSGPACK_OBJECT_MAP)
		return refuse("its header is no map");
	for (uint32_t i = 0; i < map->via.map.size; i++) {
		if (unpack_field(r, &map->via.map.ptr[i]) < 0)
			return -1;
		has_kind |= is_text(&map->via.map.ptr[i].key, "kind");
	}
	return has_kind ? 0 : refuse("it has no kind");
}

int wire_unpack(struct record *r, const void *data, size_t size)
{
	struct scan s = { data, (const uint8_t *)data + size, NULL };
	msgpack_unpacked u;
	size_t off = 0;
	int result;

	record_reset(r, KIND_CLOSE);
	if (size > WIRE_HEADER_MAX)
		return refuse("its header is over 64 KiB");
	if (!scan_value(&s, 0))
		return s.wrong ? fail("refused a message: its header holds %s", s.wrong)
			       : refuse("its header is cut short, or nests too deep");
	if (s.at != s.end)
		return fail("refused a message: %td bytes follow the map in its header", s.end - s.at);
	msgpack_unpacked_init(&u);
	if (msgpack_unpack_next(&u, data, size, &off) != MSGPACK_UNPACK_SUCCESS)
		result = refuse("its header is no whole MessagePack value");
	else
		result = unpack_map(r, &u.data);
	msgpack_unpacked_destroy(&u);
	if (result < 0)
		record_reset(r, KIND_CLOSE);
	return result;
}

int wire_attach(struct record *r, int i, struct buffer *owner)
{
	struct tensor *t = &r->tensors[i];
	char spec[128];

	if (owner->size != tensor_bytes(t)) {
		fail("refused a message: frame %d has %zu bytes, but '%s' is %s", i + 1, owner->size, t->name,
		     tensor_spec(t, spec, sizeof(spec)));
		buffer_unref(owner);
		return -1;
	}
	if ((uintptr_t)owner->data % dtype_size(t->dtype) != 0) { /* small frames arrive at any address */
		struct buffer *aligned = buffer_new(owner->size);

		memcpy(aligned->data, owner->data, owner->size);
		buffer_unref(owner);
		owner = aligned;
	}
	t->owner = owner;
	t->data = owner->data;
	return 0;
}
