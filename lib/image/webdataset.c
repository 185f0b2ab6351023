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
