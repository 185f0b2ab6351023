#include "lib/image/bags.h"

#include "lib/base/rng.h"
#include "lib/tensor/tensors.h"

static int check_source(const struct tensors *f, const char *path, const struct dataset *d)
{
	const char *data = tensors_meta(f, "fact.data"), *holdout = tensors_meta(f, "fact.holdout");

	if (!data || !holdout || !tensors_find(f, "bags"))
		return fail_code(EXIT_USAGE,
				 "'%s' holds no bags: 'augment --eval DATA | encode --eval ... | probe bags' makes them", path);
	if (strcmp(data, d->fingerprint) != 0)
		return fail_code(EXIT_USAGE,
				 "the bags of '%s' are of other data (%s, and here are %s): make them of these", path, data,
				 d->fingerprint);
	if (strcmp(holdout, d->holdout) != 0)
		return fail_code(EXIT_USAGE,
				 "the bags of '%s' were made with another --holdout: give the same, or make them again", path);
	return 0;
}

/* Members are training samples, and stand before what is empty. */
static bool is_sound(const struct tensor *t, const struct dataset *d)
{
	if (t->dtype != I32 || t->rank != 2 || t->shape[0] != d->count || t->shape[1] < 1 || t->shape[1] > INT32_MAX)
		return false;
	for (int64_t i = 0; i < t->shape[0] * t->shape[1]; i++) {
		int32_t member = tensor_i32(t)[i];

		if (member < -1 || member >= d->count || member == i / t->shape[1] ||
		    (member >= 0 && d->samples[member].split != SPLIT_TRAIN))
			return false;
		if (member >= 0 && i % t->shape[1] > 0 && tensor_i32(t)[i - 1] < 0)
			return false;
	}
	return true;
}

static int fill(struct bags *b, const struct tensor *t, const char *path, const struct dataset *d)
{
	uint64_t h;

	if (!is_sound(t, d))
		return fail("the bags of '%s' are damaged: make them again", path);
	h = hash_bytes(HASH_INIT, t->data, tensor_bytes(t));
	b->member = xmalloc(tensor_bytes(t));
	memcpy(b->member, t->data, tensor_bytes(t));
	b->k = (int)t->shape[1];
	format(b->fingerprint, sizeof(b->fingerprint), "%d:%016llx", b->k, (unsigned long long)h);
	return 0;
}

int bags_open(struct bags *b, const char *path, const struct dataset *d)
{
	struct tensors f;
	int r;

	*b = (struct bags){ .k = 0 };
	if (tensors_open(&f, path) < 0)
		return -1;
	r = check_source(&f, path, d);
	if (r == 0)
		r = fill(b, tensors_find(&f, "bags"), path, d);
	tensors_close(&f);
	return r;
}

void bags_release(struct bags *b)
{
	free(b->member);
	*b = (struct bags){ .k = 0 };
}

int bags_member(const struct bags *b, int sample, uint64_t seed, uint32_t epoch, int attempt)
{
	const int32_t *bag = b->member + (int64_t)sample * b->k;
	struct rng r = rng_at(seed, epoch, (uint32_t)sample, 0, RNG_BAG);
	int n = 0;

	while (n < b->k && bag[n] >= 0)
		n++;
	return attempt < n ? bag[(rng_below(&r, (uint32_t)n) + attempt) % n] : sample;
}
