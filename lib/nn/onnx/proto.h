/*
 * proto.h - protocol buffers' wire format, written into memory (protobuf.dev, "Encoding")
 *
 * A message is fields one after the other, each a key (number and kind) and a value; a message within a message is a field whose
 * value is its bytes behind their count.
 *
 *	struct proto p = { 0 };
 *	proto_int(&p, 1, 8);                        field 1: 8
 *	size_t at = proto_open(&p, 7);              field 7: a message ...
 *	proto_text(&p, 2, "backbone");
 *	proto_close(&p, at);                        ... as long as what was written since
 *	write_all(fd, p.bytes, p.size);
 *	proto_free(&p);
 */
#ifndef NN_PROTO_H
#define NN_PROTO_H

#include "lib/base/base.h"

struct proto {
	char *bytes;             /* owned */
	size_t size, room;
};

void proto_free(struct proto *p);
void proto_int(struct proto *p, int field, int64_t v);
void proto_float(struct proto *p, int field, float v);
void proto_bytes(struct proto *p, int field, const void *data, size_t size);
void proto_text(struct proto *p, int field, const char *text);
/* All fields of another. */
void proto_append(struct proto *p, const struct proto *fields);
/* A message within: what proto_close() needs to know. */
size_t proto_open(struct proto *p, int field);
void proto_close(struct proto *p, size_t at);

#endif
