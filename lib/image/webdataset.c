#include "lib/image/webdataset.h"

#include <jansson.h>

#include "lib/base/files.h"

enum { LINE_MOST = 64 };

/* The first word. */
static bool class_from_cls(char *text, size_t size, char *class)
{
	(void)size;
	text[strcspn(text, " \t\r\n")] = '\0';
	return *text && format(class, WEBDATASET_CLASS, "%s", text) == 0;
}

static bool class_from_json(char *text, size_t size, char *class)
{
	static const char *const keys[] = { "cls", "label", "class" };
	json_t *root = json_loadb(text, size, 0, NULL), *value = NULL;
	bool found = false;

	for (size_t i = 0; i < ARRAY_SIZE(keys) && !value; i++)
		value = json_object_get(root, keys[i]);
	if (json_is_integer(value))
		found = format(class, WEBDATASET_CLASS, "%lld", (long long)json_integer_value(value)) == 0;
	else if (json_is_string(value) && *json_string_value(value))
		found = format(class, WEBDATASET_CLASS, "%s", json_string_value(value)) == 0;
	json_decref(root);
	return found;
}

static bool class_from_txt(char *text, size_t size, char *class)
{
	size_t n = strcspn(text, "\r\n");

	if (n == 0 || n > LINE_MOST || strspn(text + n, " \t\r\n") + n != size)
		return false;
	return format(class, WEBDATASET_CLASS, "%.*s", (int)n, text) == 0;
}

/* The last row is believed most. */
static const struct {
	const char *extension;
	bool in_folders;          /* also for samples in folders */
	bool (*read)(char *text, size_t size, char *class);
} kinds[] = {
	{ ".txt", false, class_from_txt }, { ".json", true, class_from_json }, { ".cls", true, class_from_cls },
};

size_t webdataset_key(const char *name)
{
	const char *slash = strrchr(name, '/');
	size_t folder = slash ? (size_t)(slash + 1 - name) : 0;

	return folder + strcspn(name + folder, ".");
}

int webdataset_rank(const char *name)
{
	const char *dot = strrchr(name, '.');

	for (size_t i = 0; dot && i < ARRAY_SIZE(kinds); i++)
		if (strcmp(dot, kinds[i].extension) == 0)
			return kinds[i].in_folders || !strchr(name, '/') ? (int)i + 1 : 0;
	return 0;
}

bool webdataset_class(int rank, char *text, size_t size, char class[WEBDATASET_CLASS])
{
	size_t mark = text_mark(text);

	return kinds[rank - 1].read(text + mark, size - mark, class);
}

/* --- apart from the pictures --- */

static uint64_t hash_key(const char *name)
{
	return hash_bytes(HASH_INIT, name, webdataset_key(name));
}

void webdataset_add(struct webdataset *a, const char *name, uint32_t class, int rank)
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
static struct said *find(const struct webdataset *a, uint64_t key)
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

int webdataset_join(struct webdataset *a, struct dataset *d, int first)
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

void webdataset_release(struct webdataset *a)
{
	free(a->said);
	*a = (struct webdataset){ 0 };
}
