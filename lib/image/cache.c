#include "lib/image/cache.h"

#include <stdatomic.h>

struct kept {
	int w, h;
	uint8_t rgb[];
};

struct cache {
	int count;
	atomic_llong left;                /* bytes of the budget */
	_Atomic(struct kept *) kept[];
};

struct cache *cache_new(int count, int64_t budget)
{
	struct cache *c = xcalloc(1, sizeof(*c) + (size_t)count * sizeof(c->kept[0]));

	c->count = count;
	atomic_init(&c->left, budget);
	return c;
}

void cache_free(struct cache *c)
{
	for (int i = 0; c && i < c->count; i++)
		free(atomic_load(&c->kept[i]));
	free(c);
}

bool cache_find(struct cache *c, int i, struct picture *p)
{
	struct kept *k = atomic_load_explicit(&c->kept[i], memory_order_acquire);

	if (!k)
		return false;
	*p = (struct picture){ .w = k->w, .h = k->h, .rgb = k->rgb };
	return true;
}

void cache_add(struct cache *c, int i, const struct picture *p)
{
	size_t pixels = (size_t)p->w * p->h * 3, size = sizeof(struct kept) + pixels;
	struct kept *k, *none = NULL;

	if (atomic_fetch_sub(&c->left, (long long)size) < (long long)size) {
		atomic_fetch_add(&c->left, (long long)size);
		return;
	}
	k = xmalloc(size);
	k->w = p->w;
	k->h = p->h;
	memcpy(k->rgb, p->rgb, pixels);
	if (!atomic_compare_exchange_strong(&c->kept[i], &none, k)) { /* another thread was first */
		free(k);
		atomic_fetch_add(&c->left, (long long)size);
	}
}
