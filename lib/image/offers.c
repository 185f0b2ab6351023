/* offers.c - what a maker can be asked for, by number and by name */
#include "lib/image/maker_internal.h"

bool maker_offer(const struct maker *m, int i, struct tensor *spec)
{
	int64_t size = m->facts.size, batch = m->facts.batch, views = m->facts.views;
	char name[16];

	if (i < views) {
		snprintf(name, sizeof(name), "view%d", i);
		*spec = tensor_borrow(name, U8, 4, (int64_t[]){ batch, size, size, 3 }, NULL);
		return true;
	}
	switch (i - views) {
	case 0: *spec = tensor_borrow("index", I64, 1, &batch, NULL); return true;
	case 1: *spec = tensor_borrow("label", I32, 1, &batch, NULL); return true;
	case 2: *spec = tensor_borrow("split", I32, 1, &batch, NULL); return m->facts.eval;
	case 3: *spec = tensor_borrow("name", U8, 2, (int64_t[]){ batch, MAX((int64_t)m->d->name_max, 1) }, NULL); return m->facts.eval;
	}
	return false;
}

int offer_find(const struct maker *m, const char *name, struct tensor *spec)
{
	for (int i = 0; maker_offer(m, i, spec); i++)
		if (strcmp(spec->name, name) == 0)
			return i;
	if (strncmp(name, "view", 4) == 0)
		return fail_code(EXIT_USAGE, "unable to give '%s': there are %lld views; try augment --views N", name,
				 (long long)m->facts.views);
	if (strcmp(name, "split") == 0 || strcmp(name, "name") == 0)
		return fail_code(EXIT_USAGE, "unable to give '%s': it belongs to augment --eval", name);
	return fail_code(EXIT_USAGE, "unable to give '%s': no stage before makes it", name);
}
