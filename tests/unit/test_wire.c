/*
 * test_wire.c - the header frame: what wire.5 allows comes back as it was, what it forbids is refused, noise does no harm
 *
 * Headers are written by hand in wire.5's own notation (see compile()), so that nothing here leans on the packer under test.
 */
#include "lib/stream/wire.h"
#include "tests/check.h"

#include <ctype.h>
#include <math.h>
#include <sys/resource.h>

enum { MUTATIONS = 200000 };

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

static struct bytes *compile(const char *s)
{
	static struct bytes b;

	b.used = 0;
	compile_until(&b, s, '\0');
	return &b;
}

static struct record *rec; /* reused by all tests, as stages do */

static int unpack(const char *notation)
{
	const struct bytes *b = compile(notation);

	return wire_unpack(rec, b->at, b->used);
}

/* --- round trips --- */

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
	{ "a header over 64 KiB", "82 'kind' 'close' 'x' db00010000 #1024(#64(78))" },
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

/* --- noise --- */

static uint64_t noise_state = 1;

static uint32_t noise(uint32_t n) /* xorshift64*: 0 .. n-1 */
{
	noise_state ^= noise_state >> 12;
	noise_state ^= noise_state << 25;
	noise_state ^= noise_state >> 27;
	return (uint32_t)(noise_state * 0x2545f4914f6cdd1dULL >> 32) % n;
}

static const char *const seeds[] = {
	"83 'kind' 'want' 'scalars' 83 'step' 07 'part' 00 'parts' 01 'names' 92 'view0' 'view1'",
	"84 'kind' 'schema' 'scalars' 84 'version' 01 'stage' 'augment' 'trained' c2 'fact.mean' '0.5,0.5,0.5' 'offers' 92 93 "
	"'view0' 'u8' 94 08 20 20 03 93 'index' 'i64' 91 08 'tensors' 91 93 'lineage' 'u8' 91 10",
	"83 'kind' 'grad' 'scalars' 83 'step' 05 'incarnation' cf0123456789abcdef 'loss' cb401921fb54442d18 'tensors' 93 93 "
	"'d:q0' 'f32' 92 cc80 cc80 93 'loss.queue' 'f32' 92 cd1000 cc80 93 'loss.pointer' 'i64' 91 01",
	"82 'kind' 'fault' 'scalars' 82 'code' 01 'sentence' 'unable to open: no such file'",
	"82 'kind' 'close' 'later' 92 81 'a' ca3f800000 93 01 c3 d90162",
};

static void mutate_once(struct bytes *b)
{
	static const uint8_t telling[] = { 0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc4,
					   0xc7, 0xcf, 0xd3, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xff };
	uint32_t at = noise((uint32_t)b->used + 1), n = 1 + noise(8);

	switch (noise(6)) {
	case 0:
		b->at[at] = (uint8_t)noise(256);
		break;
	case 1:
		b->at[at] = telling[noise(ARRAY_SIZE(telling))];
		break;
	case 2:
		b->at[at] ^= (uint8_t)(1 << noise(8));
		break;
	case 3: /* cut */
		b->used = at;
		break;
	case 4: /* leave out */
		n = MIN(n, (uint32_t)b->used - at);
		memmove(b->at + at, b->at + at + n, b->used - at - n);
		b->used -= n;
		break;
	default: /* say twice */
		n = MIN(n, (uint32_t)b->used - at);
		memmove(b->at + at + n, b->at + at, b->used - at);
		b->used += n;
	}
}

static bool within_limits(const struct tensor *list, int count)
{
	for (int i = 0; i < count; i++) {
		if (list[i].dtype > F32 || list[i].rank > TENSOR_RANK || strlen(list[i].name) >= TENSOR_NAME)
			return false;
		for (int d = 0; d < list[i].rank; d++)
			if (list[i].shape[d] < 0 || list[i].shape[d] > INT32_MAX)
				return false;
	}
	return count <= RECORD_TENSORS;
}

/* What was taken keeps the limits, and survives a second trip. */
static bool sound(struct record *first)
{
	struct record *swap = rec;
	bool good;

	if (!within_limits(first->tensors, first->tensor_count) || !within_limits(first->offers, first->offer_count))
		return false;
	rec = record_new(KIND_CLOSE);
	good = returns_as_it_was(first);
	record_free(rec);
	rec = swap;
	return good;
}

static void test_noise(void)
{
	static struct bytes b;
	int taken = 0, unsound = 0;
	struct rusage before, after;

	getrusage(RUSAGE_SELF, &before);
	for (int i = 0; i < MUTATIONS; i++) {
		uint8_t *exact;

		b.used = 0;
		compile_until(&b, seeds[noise(ARRAY_SIZE(seeds))], '\0');
		for (uint32_t n = 1 + noise(4); n > 0; n--)
			mutate_once(&b);
		exact = xmalloc(b.used); /* a sanitiser sees one byte too far */
		memcpy(exact, b.at, b.used);
		if (wire_unpack(rec, exact, b.used) == 0) {
			taken++;
			unsound += !sound(rec);
		}
		free(exact);
	}
	getrusage(RUSAGE_SELF, &after);
	check("200000 damaged headers", unsound == 0, "%d of the %d that were taken are not sound", unsound, taken);
	check("damage reaches both ends", taken > MUTATIONS / 100 && taken < MUTATIONS / 2, "%d taken", taken);
#ifndef __SANITIZE_ADDRESS__
	check("damaged counts allocate nothing", after.ru_maxrss - before.ru_maxrss < 16384, "%ld KiB more",
	      after.ru_maxrss - before.ru_maxrss);
#endif
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
	test_noise();
	record_free(rec);
	return check_done();
}
