#include "lib/image/apart.h"

#include "lib/image/webdataset.h"

static uint64_t hash_key(const char *name)
{
	return hash_bytes(HASH_INIT, name, webdataset_key(name));
}

void apart_add(struct apart *a, const char *name, uint32_t class, int rank)
{
	if (a->count == a->room) {
		a->room = MAX(2 * a->room, 1024);
		a->said = xrealloc(a->said, a->room, sizeof(*a->said));
	}
	a->said[a->count] = (struct said){ hash_key(name), class, rank, a->count, false };
	a->count++;
}

/* By key; of one key's the most believed comes first, the first of two alike. */
static int compare_said(const void *a, const void *b)
{
	const struct said *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->rank != y->rank ? y->rank - x->rank : x->order - y->order;
}

/* The first that speaks of a key; NULL: none does. */
static struct said *find(const struct apart *a, uint64_t key)
{
	int low = 0, high = a->count;

	while (low < high) {
		int middle = low + (high - low) / 2;

		if (a->said[middle].key < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low < a->count && a->said[low].key == key ? &a->said[low] : NULL;
}

int apart_join(struct apart *a, struct dataset *d, int first)
{
	int lonely = 0;

	if (a->count)
		qsort(a->said, a->count, sizeof(*a->said), compare_said);
	for (int i = first; i < d->count; i++) {
		struct said *s = find(a, hash_key(dataset_name(d, i)));

		if (s) {
			d->samples[i].class = s->class;
			s->met = true;
		}
	}
	for (int i = 0; i < a->count; i++)
		lonely += !a->said[i].met && a->said[i].rank > WEBDATASET_TEXT &&
			  (i == 0 || a->said[i].key != a->said[i - 1].key);
	return lonely;
}

void apart_release(struct apart *a)
{
	free(a->said);
	*a = (struct apart){ 0 };
}
