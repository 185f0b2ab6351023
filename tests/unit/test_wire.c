/*
 * test_wire.c - the header frame: what wire.5 allows comes back as it was, what it forbids is refused
 *
 * Headers are written by hand in wire.5's own notation (header.h), so that nothing here leans on the packer under test.
 */
#include "tests/check.h"
#include "tests/unit/header.h"

#include <math.h>

static struct bytes *compile(const char *s)
{
	static struct bytes b;

	b.used = 0;
	compile_until(&b, s, '\0');
	return &b;
}

static int unpack(const char *notation)
{
	const struct bytes *b = compile(notation);

	return wire_unpack(rec, b->at, b->used);
}

/* --- round trips --- */

static void add_scalars(struct record *r)
{
	static const int64_t ints[] = { 0, 1, -1, 31, -32, -33, 127, 128, 255, 256, 65535, 65536, -128, -129, -32769, INT32_MAX,
					(int64_t)UINT32_MAX, INT64_MAX, INT64_MIN };
	static const double reals[] = { 0, -0.0, 0.1, 1e300, 5e-324, INFINITY, -INFINITY, NAN };
	char name[32], text[SCALAR_TEXT];

	for (size_t i = 0; i < ARRAY_SIZE(ints); i++) {
		snprintf(name, sizeof(name), "int%zu", i);
		record_set_int(r, name, ints[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(reals); i++) {
		snprintf(name, sizeof(name), "real%zu", i);
		record_set_real(r, name, reals[i]);
	}
	record_set_bool(r, "yes", true);
	record_set_bool(r, "no", false);
	for (size_t n = 0; n < SCALAR_TEXT; n = 2 * n + 1) { /* 0, 1, 3, ... 1023 bytes */
		memset(text, 'x', n);
		text[n] = '\0';
		snprintf(name, sizeof(name), "text%zu", n);
		record_set_text(r, name, text);
	}
}

static void test_round_trips(void)
{
	static const int64_t shape[TENSOR_RANK] = { 3, 1, INT32_MAX, 0, 2, 7, 1, 5 };
	struct record *r = record_new(KIND_BATCH);
	char name[TENSOR_NAME];

	for (int k = 0; k < KINDS; k++) {
		record_reset(r, k);
		snprintf(name, sizeof(name), "an empty '%s'", kind_name(k));
		check(name, returns_as_it_was(r), "it changed");
	}
	add_scalars(r);
	check("scalars of every type and width", returns_as_it_was(r), "%s", why());
	record_reset(r, KIND_SCHEMA);
	for (int i = 0; i < RECORD_TENSORS; i++) {
		memset(name, 'a' + i % 26, sizeof(name));
		name[1 + i % (TENSOR_NAME - 1)] = '\0'; /* up to the longest */
		record_offer(r, name, i % 4, i % (TENSOR_RANK + 1), shape);
		record_add(r, tensor_borrow(name, (i + 1) % 4, i % 3, shape, NULL));
		snprintf(name, sizeof(name), "name-%d", i);
		record_name(r, name);
	}
	check("64 tensors, offers and names", returns_as_it_was(r), "%s", why());
	record_free(r);
}

static void test_example(void)
{
	const struct bytes *b = compile("83 a4 6b696e64 a4 77616e74 a7 7363616c617273 83 a4 73746570 07 a4 70617274 00"
					"a5 7061727473 01a5 6e616d6573 92 a5 7669657730 a5 7669657731");
	struct record *r = record_new(KIND_WANT);
	struct buffer *header;

	record_set_int(r, "step", 7);
	record_set_int(r, "part", 0);
	record_set_int(r, "parts", 1);
	record_name(r, "view0");
	record_name(r, "view1");
	header = wire_pack(r);
	check("the manual's example, byte for byte",
	      b->used == 58 && header->size == b->used && memcmp(header->data, b->at, b->used) == 0, "%zu bytes", header->size);
	buffer_unref(header);
	record_free(r);
}

static void test_widths(void)
{
	static const char *const sevens[] = {
		"07", "cc07", "cd0007", "ce00000007", "cf0000000000000007", "d007", "d10007", "d200000007", "d30000000000000007",
	};
	char text[128], name[48];

	for (size_t i = 0; i < ARRAY_SIZE(sevens); i++) {
		snprintf(text, sizeof(text), "82 'kind' 'want' 'scalars' 81 'step' %s", sevens[i]);
		snprintf(name, sizeof(name), "seven as %s", sevens[i]);
		check(name, unpack(text) == 0 && record_int(rec, "step", 0) == 7, "it reads as %lld: %s",
		      (long long)record_int(rec, "step", 0), why());
	}
	check("float 32", unpack("82 'kind' 'batch' 'scalars' 81 'lr' ca3f800000") == 0 && record_real(rec, "lr", 0) == 1, "%s",
	      why());
	check("an integer serves as a float",
	      unpack("82 'kind' 'batch' 'scalars' 81 'lr' 02") == 0 && record_real(rec, "lr", 0) == 2, "%s", why());
	check("unknown keys are ignored",
	      unpack("84 'later' 82 'a' 91 01 'b' c3 'kind' 'close' 'x' 92 01 cb3ff0000000000000 'y' 'z'") == 0 &&
		      rec->kind == KIND_CLOSE,
	      "%s", why());
	check("long forms of map, array and text",
	      unpack("df00000002 d9046b696e64 da0004 77616e74 'names' dd00000001 db0000000161") == 0 && record_named(rec, "a"),
	      "%s", why());
	check("six levels are read", unpack("82 'kind' 'close' 'x' 91 91 91 91 91 01") == 0, "%s", why());
}

/* --- refusals --- */

#define LONG_TEXT "#16(#64(78))"

static const struct {
	const char *name, *header;
} refusals[] = {
	{ "nothing at all", "" },
	{ "no map", "93 01 02 03" },
	{ "no kind", "81 'names' 90" },
	{ "an unknown kind", "81 'kind' 'push'" },
	{ "a kind that is a number", "81 'kind' 01" },
	{ "a map cut short", "82 'kind' 'want'" },
	{ "a text cut short", "81 'kind' a477616e" },
	{ "an integer cut short", "82 'kind' 'want' 'scalars' 81 'step' cf0000" },
	{ "a byte after the map", "81 'kind' 'want' 00" },
	{ "a second map", "81 'kind' 'want' 81 'kind' 'want'" },
	{ "a map of 2^32-1 entries", "dfffffffff 'kind' 'want'" },
	{ "an array of 2^32-1 entries", "82 'kind' 'want' 'names' ddffffffff" },
	{ "an array of 65535 entries that are not there", "82 'kind' 'want' 'names' dcffff 'a'" },
	{ "a map of 2^31 entries, whose double wraps", "82 'kind' 'want' 'scalars' df80000000 01 01" },
	{ "a text of 2^32-1 bytes", "82 'kind' 'want' 'x' dbffffffff 61" },
	{ "seven levels", "82 'kind' 'close' 'x' 91 91 91 91 91 91 01" },
	{ "sixty thousand levels", "82 'kind' 'close' 'x' #60000(91) 01" },
	{ "bin", "82 'kind' 'close' 'x' c401 00" },
	{ "ext", "82 'kind' 'close' 'x' d40100" },
	{ "ext of eight bits' length", "82 'kind' 'close' 'x' c70101 00" },
	{ "nil as a scalar", "82 'kind' 'close' 'scalars' 81 'x' c0" },
	{ "nil under an unknown key", "82 'kind' 'close' 'x' c0" },
	{ "the tag that was never given out", "82 'kind' 'close' 'x' c1" },
	{ "scalars that are a list", "82 'kind' 'close' 'scalars' 91 01" },
	{ "a scalar that is a list", "82 'kind' 'close' 'scalars' 81 'x' 91 01" },
	{ "a scalar whose name is a number", "82 'kind' 'close' 'scalars' 81 01 01" },
	{ "a scalar name of 40 bytes", "82 'kind' 'close' 'scalars' 81 d928 #40(78) 01" },
	{ "a scalar name with NUL", "82 'kind' 'close' 'scalars' 81 a3610062 01" },
	{ "an integer of 2^63", "82 'kind' 'close' 'scalars' 81 'x' cf8000000000000000" },
	{ "97 scalars", "82 'kind' 'close' 'scalars' de0061 #97('a' 01)" },
	{ "a text of 1024 bytes", "82 'kind' 'close' 'scalars' 81 'x' da0400" LONG_TEXT },
	{ "65 tensors", "82 'kind' 'batch' 'tensors' dc0041 #65(93 'a' 'u8' 91 01)" },
	{ "65 offers", "82 'kind' 'schema' 'offers' dc0041 #65(93 'a' 'u8' 91 01)" },
	{ "65 names", "82 'kind' 'want' 'names' dc0041 #65('a')" },
	{ "tensors that are a map", "82 'kind' 'batch' 'tensors' 81 'a' 'u8'" },
	{ "tensors twice", "83 'kind' 'batch' 'tensors' 91 93 'a' 'u8' 90 'tensors' 91 93 'b' 'u8' 90" },
	{ "a tensor of two words", "82 'kind' 'batch' 'tensors' 91 92 'a' 'u8'" },
	{ "a tensor of four words", "82 'kind' 'batch' 'tensors' 91 94 'a' 'u8' 90 01" },
	{ "a tensor whose name is a number", "82 'kind' 'batch' 'tensors' 91 93 01 'u8' 90" },
	{ "a tensor name of 112 bytes", "82 'kind' 'batch' 'tensors' 91 93 d970 #112(78) 'u8' 90" },
	{ "dtype f64", "82 'kind' 'batch' 'tensors' 91 93 'a' 'f64' 91 01" },
	{ "dtype bf16", "82 'kind' 'batch' 'tensors' 91 93 'a' 'bf16' 91 01" },
	{ "an empty dtype", "82 'kind' 'batch' 'tensors' 91 93 'a' '' 91 01" },
	{ "a dtype that is a number", "82 'kind' 'batch' 'tensors' 91 93 'a' 03 91 01" },
	{ "rank 9", "82 'kind' 'batch' 'tensors' 91 93 'a' 'u8' 99 #9(01)" },
	{ "a shape that is a number", "82 'kind' 'batch' 'tensors' 91 93 'a' 'u8' 04" },
	{ "a size of -1", "82 'kind' 'batch' 'tensors' 91 93 'a' 'u8' 91 ff" },
	{ "a size of 2^31", "82 'kind' 'batch' 'tensors' 91 93 'a' 'u8' 91 ce80000000" },
	{ "a size of 1.0", "82 'kind' 'batch' 'tensors' 91 93 'a' 'u8' 91 ca3f800000" },
	{ "a size that is a text", "82 'kind' 'batch' 'tensors' 91 93 'a' 'u8' 91 '1'" },
	{ "a product of 2^93", "82 'kind' 'batch' 'tensors' 91 93 'a' 'u8' 93 #3(ce7fffffff)" },
	{ "a product whose last factor overflows", "82 'kind' 'batch' 'tensors' 91 93 'a' 'i64' 92 #2(ce7fffffff)" },
	{ "a name that is a number", "82 'kind' 'want' 'names' 91 01" },
	{ "a name of 112 bytes", "82 'kind' 'want' 'names' 91 d970 #112(78)" },
	{ "names that are a text", "82 'kind' 'want' 'names' 'view0'" },
	{ "a header over 128 KiB", "82 'kind' 'close' 'x' db00020000 #2048(#64(78))" },
};

static void test_refusals(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++)
		check(refusals[i].name, unpack(refusals[i].header) < 0 && strncmp(why(), "refused a message: ", 19) == 0,
		      "not refused, or said as '%s'", why());
	check("a refused record is empty", rec->tensor_count + rec->scalar_count + rec->name_count + rec->offer_count == 0,
	      "something is left");
}

static void test_too_large_to_send(void)
{
	struct record *r = record_new(KIND_SCHEMA);
	char name[TENSOR_NAME];
	struct buffer *header;

	for (int i = 0; i < RECORD_TENSORS; i++) { /* three lists of long names, then texts to the brim */
		memset(name, 'a' + i % 26, sizeof(name) - 1);
		snprintf(name + TENSOR_NAME - 4, 4, "%03d", i);
		record_offer(r, name, F32, TENSOR_RANK, (int64_t[]){ INT32_MAX, 1, 1, 1, 1, 1, 1, 1 });
		record_add(r, tensor_borrow(name, F32, TENSOR_RANK, (int64_t[]){ INT32_MAX, 1, 1, 1, 1, 1, 1, 1 }, NULL));
		record_name(r, name);
	}
	header = wire_pack(r);
	check("the largest lists fit", header && header->size <= WIRE_HEADER_MAX, "%s", why());
	buffer_unref(header);
	record_free(r);
}

/* --- frames --- */

static void test_frames(void)
{
	const char *spec = "82 'kind' 'batch' 'tensors' 91 93 'x' 'f32' 92 02 03";
	struct buffer *odd = buffer_new(64);

	for (size_t size = 0; size <= 48; size++) {
		struct buffer *frame = buffer_new(size);
		char name[48];
		int result;

		unpack(spec);
		result = wire_attach(rec, 0, frame);
		snprintf(name, sizeof(name), "f32[2,3] in a frame of %zu bytes", size);
		check(name, (result == 0) == (size == 24), "%s", result == 0 ? "taken" : why());
	}
	unpack(spec);
	odd->data = (char *)odd->data + 1; /* as a small frame inside a larger message lies */
	odd->size = 24;
	check("a misaligned frame is moved",
	      wire_attach(rec, 0, buffer_ref(odd)) == 0 && (uintptr_t)rec->tensors[0].data % 4 == 0 &&
		      rec->tensors[0].data != odd->data,
	      "%s", why());
	odd->data = (char *)odd->data - 1;
	buffer_unref(odd);
	unpack("82 'kind' 'batch' 'tensors' 91 93 'x' 'f32' 93 02 00 03");
	check("an empty tensor has an empty frame", wire_attach(rec, 0, buffer_new(0)) == 0, "%s", why());
	unpack("82 'kind' 'batch' 'tensors' 91 93 'x' 'i64' 90");
	check("a tensor of rank 0 is one element", wire_attach(rec, 0, buffer_new(8)) == 0, "%s", why());
}

int main(void)
{
	rec = record_new(KIND_CLOSE);
	test_round_trips();
	test_example();
	test_widths();
	test_refusals();
	test_too_large_to_send();
	test_frames();
	record_free(rec);
	return check_done();
}
