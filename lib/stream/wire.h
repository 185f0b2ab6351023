/*
 * wire.h - a record's header frame to bytes and back; wire.5 specifies every byte
 *
 * Only the header is MessagePack; tensors follow as raw frames that link.h moves without a copy. Reading trusts nothing: the
 * bytes are scanned before they are unpacked (declared counts against the bytes present, nesting, total size).
 */
#ifndef STREAM_WIRE_H
#define STREAM_WIRE_H

#include "lib/stream/record.h"

#define WIRE_VERSION 1
#define WIRE_HEADER_MAX 131072

/* Header of r as fresh memory (one reference). NULL after fail() when it would exceed WIRE_HEADER_MAX. */
struct buffer *wire_pack(const struct record *r);
/* Fills r (reset first) from a header; its tensors have specs but no data yet. -1 after fail(). */
int wire_unpack(struct record *r, const void *data, size_t size);
/* Checks a frame against the spec of tensor i and attaches it (the reference of owner moves to the record). */
int wire_attach(struct record *r, int i, struct buffer *owner);

#endif
