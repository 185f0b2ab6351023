/*
 * fuzz_wire.c - libFuzzer on what a stage does with a message: header, frames, and sending it on
 *
 * The input is the header. Frames are made to the sizes it announces, as an attacker would, but only up to 1 MB.
 */
#include "lib/stream/wire.h"

enum { FRAME_MOST = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void attach_frames(struct record *r)
{
	for (int i = 0; i < r->tensor_count; i++) {
		size_t bytes = tensor_bytes(&r->tensors[i]);

		if (bytes <= FRAME_MOST && wire_attach(r, i, buffer_new(bytes)) < 0)
			abort();
		if (wire_attach(r, i, buffer_new(bytes <= FRAME_MOST ? bytes + 1 : 1)) == 0)
			abort();
	}
}

static void send_on(const struct record *r)
{
	struct record *again = record_new(KIND_CLOSE);
	struct buffer *header = wire_pack(r);

	if (!header || wire_unpack(again, header->data, header->size) < 0 || again->tensor_count != r->tensor_count ||
	    again->scalar_count != r->scalar_count || again->name_count != r->name_count || again->offer_count != r->offer_count)
		abort();
	buffer_unref(header);
	record_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct record *r = record_new(KIND_CLOSE);

	if (wire_unpack(r, data, size) == 0) {
		send_on(r);
		attach_frames(r);
		free(record_long_text(r, "lineage"));
		record_facts_differ(r, r);
	}
	record_free(r);
	return 0;
}
