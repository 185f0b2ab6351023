#include "lib/nn/weights/adopt.h"
#include "lib/nn/weights/aliases.h"

enum { SAID = 8, TEXT_MAX = 800 };

/* --- where the weights are --- */

/* What a tensor of the network is called at a place, without its prefix. 0, or -1 when it has no name there. */
static int name_at(const struct net *net, const char *ours, bool other, char *name)
{
	if (other)
		return aliases_translate(net_configuration(net)->arch, ours, name, TENSOR_NAME);
	return format(name, TENSOR_NAME, "%s", ours);
}

/* How many of the backbone's tensors are there. */
static int count_found(const struct net *net, const struct tensors *f, const struct model_place *place)
{
	const struct net_tensor *list;
	int n = net_tensors(net, &list), found = 0;

	for (int i = 0; i < n; i++) {
		char name[TENSOR_NAME], full[2 * TENSOR_NAME];

		if (list[i].output != OUTPUT_FEATURE || name_at(net, list[i].name, place->other, name) < 0)
			continue;
		snprintf(full, sizeof(full), "%s%s", place->prefix, name);
		found += tensors_find(f, full) != NULL;
	}
	return found;
}

static bool is_average(const char *prefix)
{
	static const char *const words[] = { "ema", "momentum", "encoder_k", "teacher", "target", "key", "average", "swa" };

	for (int i = 0; i < ARRAY_SIZE(words); i++)
		if (strstr(prefix, words[i]))
			return true;
	return false;
}

struct search {
	struct model_place best, rival;   /* rival: another of the same kind with as much */
	int found;
	bool contested;
};

static void consider(struct search *s, const struct net *net, const struct tensors *f, const struct model_place *place)
{
	int found = count_found(net, f, place);
	bool average = is_average(place->prefix), same = found == s->found && average == is_average(s->best.prefix);

	if (found == 0 || found < s->found || (found == s->found && average && !same))
		return;
	s->contested = same;
	if (same) {
		s->rival = *place;
		return;
	}
	s->best = *place;
	s->found = found;
}

/* Every prefix under which the file has the network's first tensor. */
static void search_names(struct search *s, const struct net *net, const struct tensors *f, bool other)
{
	const struct net_tensor *list;
	char stem[TENSOR_NAME];

	net_tensors(net, &list);
	if (name_at(net, list[0].name, other, stem) < 0)
		return;
	for (int i = 0; i < f->count; i++) {
		const char *name = f->tensors[i].name;
		size_t n = strlen(name), end = strlen(stem);
		struct model_place place = { .other = other };

		if (n < end || strcmp(name + n - end, stem) != 0 || (n > end && name[n - end - 1] != '.'))
			continue;
		memcpy(place.prefix, name, n - end);
		consider(s, net, f, &place);
	}
}

static int find_place(const struct net *net, const struct tensors *f, const char *path, struct model_place *place)
{
	struct search s = { .found = 0 };

	search_names(&s, net, f, false);
	search_names(&s, net, f, true);
	*place = s.best;
	if (s.contested && 2 * s.found > net_tensors(net, NULL))
		return fail_code(EXIT_USAGE,
				 "'%s' holds two networks of this kind, '%s*' and '%s*': give it one, in Python: "
				 "torch.save({n[%d:]: t for n, t in state.items() if n.startswith('%s')}, 'weights.pth')", path,
				 s.best.prefix, s.rival.prefix, (int)strlen(s.best.prefix), s.best.prefix);
	return 0;
}

/* --- what is said --- */

/* Length of the group that a name is told by: one word more than it shares with the prefix; all of it for a tensor alone. */
static int group_length(const char *name, const char *prefix)
{
	int shared = 0, n;

	for (int i = 0; prefix[i] && name[i] == prefix[i]; i++)
		if (name[i] == '.')
			shared = i + 1;
	n = (int)strcspn(name + shared, ".");
	return shared + n + (name[shared + n] == '.');
}

static bool in_group(const char *name, const char *first, int length)
{
	return strncmp(name, first, length) == 0 && (first[length - 1] == '.' || name[length] == '\0');
}

/* "fc.* (2), queue", of all that was not used; groups beyond the first few as their number. Returns how many groups. */
static int list_aside(const struct tensors *f, const char *prefix, const bool *used, char *text)
{
	int groups = 0, end = 0;

	for (int i = 0; i < f->count;) {
		const char *name = f->tensors[i].name;
		int length = group_length(name, prefix), count = 0;

		for (; i < f->count && in_group(f->tensors[i].name, name, length); i++)
			count += !used[i] && !model_is_counter(f->tensors[i].name);
		if (count == 0 || groups++ >= SAID)
			continue;
		end += snprintf(text + end, TEXT_MAX - end, "%s%.*s", end ? ", " : "", length, name);
		end = MIN(end, TEXT_MAX - 1);
		if (name[length - 1] == '.')
			end += snprintf(text + end, TEXT_MAX - end, "* (%d)", count);
		end = MIN(end, TEXT_MAX - 1);
	}
	if (groups > SAID)
		snprintf(text + end, TEXT_MAX - end, " and %d more such groups", groups - SAID);
	return groups;
}

static void tell(const struct net *net, const struct tensors *f, const char *path, const struct model_place *place,
		 const bool *used)
{
	const struct arch *a = net_configuration(net)->arch;
	char aside[TEXT_MAX + 64];

	if (place->other)
		note("'%s' has %s's names%s%s", path, aliases_other(a), strcmp(aliases_other(a), "timm") == 0 ?
		     ": tf_ variants, which pad images otherwise, are not told apart and would give other features" : "",
		     aliases_bn_eps(a) != a->bn_eps ? "; its batch norm's eps is made up for in the variances" : "");
	if (*place->prefix)
		note("'%s': the weights are those called '%s*'", path, place->prefix);
	if (list_aside(f, place->prefix, used, aside) > 0)
		note("'%s': left aside, with how many tensors: %s", path, aside);
}

int adopt(const struct net *net, const struct tensors *f, const char *path, int fresh, float *params, float *buffers)
{
	bool *used = xcalloc(f->count, sizeof(*used));
	struct model_place place;
	int r = find_place(net, f, path, &place), layers = LAYERS_ALL;

	for (enum output o = OUTPUT_HEAD; r == 0 && o < OUTPUTS; o++)
		if (fresh & LAYERS_OF(o) && (!(layers & LAYERS_OF(OUTPUT_HEAD)) || !model_fits(net, f, place.prefix, o)))
			layers &= ~LAYERS_OF(o);
	if (r == 0)
		r = model_load(net, f, path, &place, LAYERS_OF(OUTPUT_FEATURE), layers, params, buffers, used);
	if (r >= 0)
		tell(net, f, path, &place, used);
	free(used);
	return r;
}
