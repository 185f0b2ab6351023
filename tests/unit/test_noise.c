/* test_noise.c - header frames damaged at random: what is taken keeps the limits, and nothing does harm */
#include "tests/check.h"
#include "tests/unit/header.h"

#include <sys/resource.h>

enum { MUTATIONS = 200000 };

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
	test_noise();
	record_free(rec);
	return check_done();
}
