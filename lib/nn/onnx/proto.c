/* proto.c - protocol buffers' wire format */
#include "lib/nn/onnx/proto.h"

enum { VARINT = 0, COUNTED = 2, FOUR_BYTES = 5, VARINT_MOST = 10 };

void proto_free(struct proto *p)
{
	free(p->bytes);
	*p = (struct proto){ 0 };
}

/* Room for so many more bytes, which the caller writes. */
static char *grow(struct proto *p, size_t more)
{
	if (p->room - p->size < more) {
		p->room = MAX(p->size + more, p->room + p->room / 2);
		p->bytes = xrealloc(p->bytes, p->room, 1);
	}
	p->size += more;
	return p->bytes + p->size - more;
}

static void put(struct proto *p, const void *data, size_t size)
{
	if (size > 0)
		memcpy(grow(p, size), data, size);
}

/* Seven bits a byte, the lowest first; all but the last have the eighth. */
static int varint(char to[VARINT_MOST], uint64_t v)
{
	int n = 0;

	for (; v > 127; v >>= 7)
		to[n++] = (char)(v | 128);
	to[n++] = (char)v;
	return n;
}

static void put_varint(struct proto *p, uint64_t v)
{
	char bytes[VARINT_MOST];

	put(p, bytes, varint(bytes, v));
}

static void put_key(struct proto *p, int field, int kind)
{
	put_varint(p, (uint64_t)field << 3 | kind);
}

void proto_int(struct proto *p, int field, int64_t v)
{
	put_key(p, field, VARINT);
	put_varint(p, (uint64_t)v);
}

void proto_float(struct proto *p, int field, float v)
{
	put_key(p, field, FOUR_BYTES);
	put(p, &v, sizeof(v));
}

void proto_bytes(struct proto *p, int field, const void *data, size_t size)
{
	put_key(p, field, COUNTED);
	put_varint(p, size);
	put(p, data, size);
}

void proto_text(struct proto *p, int field, const char *text)
{
	proto_bytes(p, field, text, strlen(text));
}

void proto_append(struct proto *p, const struct proto *fields)
{
	put(p, fields->bytes, fields->size);
}

size_t proto_open(struct proto *p, int field)
{
	put_key(p, field, COUNTED);
	return p->size;
}

/* The count stands in front of what it counts, and how long it is shows only now. */
void proto_close(struct proto *p, size_t at)
{
	char count[VARINT_MOST];
	size_t size = p->size - at;
	int n = varint(count, size);

	grow(p, n);
	memmove(p->bytes + at + n, p->bytes + at, size);
	memcpy(p->bytes + at, count, n);
}
