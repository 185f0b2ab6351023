/* header.h - header frames in wire.5's own notation, and records that are compared with what comes back */
#ifndef TESTS_HEADER_H
#define TESTS_HEADER_H

#include "lib/stream/wire.h"

#include <ctype.h>

/* --- a notation for MessagePack: hexadecimal bytes, 'text' with its head, #N( ... ) for repetition --- */

struct bytes {
	uint8_t at[200000];
	size_t used;
};

static void put(struct bytes *b, int byte)
{
	if (b->used < sizeof(b->at))
		b->at[b->used++] = (uint8_t)byte;
}

static const char *put_text(struct bytes *b, const char *s)
{
	const char *end = strchr(s, '\'');
	size_t n = end - s;

	if (n < 32) {
		put(b, 0xa0 | (int)n);
	} else {
		put(b, 0xda);
		put(b, (int)n >> 8);
		put(b, (int)n & 255);
	}
	while (s < end)
		put(b, *s++);
	return end + 1;
}

static int hex(int c)
{
	return isdigit(c) ? c - '0' : c - 'a' + 10;
}

static const char *compile_until(struct bytes *b, const char *s, char stop)
{
	while (*s && *s != stop) {
		if (*s == ' ') {
			s++;
		} else if (*s == '\'') {
			s = put_text(b, s + 1);
		} else if (*s == '#') { /* #N( ... ) */
			char *body;
			long n = strtol(s + 1, &body, 10);

			for (long i = 0; i < n; i++)
				s = compile_until(b, body + 1, ')') + 1;
		} else {
			put(b, hex(s[0]) << 4 | hex(s[1]));
			s += 2;
		}
	}
	return s;
}

static struct record *rec; /* reused by all tests, as stages do */

/* --- whether a record comes back as it was --- */

static bool same_scalar(const struct record *a, const struct scalar *x, const struct record *b, const struct scalar *y)
{
	if (!y || x->type != y->type)
		return false;
	switch (x->type) {
	case SCALAR_BOOL:
		return x->flag == y->flag;
	case SCALAR_INT:
		return x->integer == y->integer;
	case SCALAR_REAL:
		return memcmp(&x->real, &y->real, sizeof(double)) == 0;
	default:
		return strcmp(a->texts + x->text, b->texts + y->text) == 0;
	}
}

static bool same_specs(const struct tensor *a, int n, const struct tensor *b, int m)
{
	for (int i = 0; i < n && n == m; i++)
		if (strcmp(a[i].name, b[i].name) != 0 || !tensor_same_spec(&a[i], &b[i]))
			return false;
	return n == m;
}

static bool same_header(const struct record *a, const struct record *b)
{
	for (int i = 0; i < a->scalar_count; i++)
		if (!same_scalar(a, &a->scalars[i], b, record_scalar(b, a->scalars[i].name)))
			return false;
	for (int i = 0; i < a->name_count && a->name_count == b->name_count; i++)
		if (strcmp(a->names[i], b->names[i]) != 0)
			return false;
	return a->kind == b->kind && a->scalar_count == b->scalar_count && a->name_count == b->name_count &&
	       same_specs(a->tensors, a->tensor_count, b->tensors, b->tensor_count) &&
	       same_specs(a->offers, a->offer_count, b->offers, b->offer_count);
}

static bool returns_as_it_was(const struct record *r)
{
	struct buffer *header = wire_pack(r);
	bool same = header && wire_unpack(rec, header->data, header->size) == 0 && same_header(r, rec);

	buffer_unref(header);
	return same;
}

#endif
