#include "lib/image/lines.h"

#include "lib/base/files.h"

static int compare_keys(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Ends the key of a line at its separator. */
static int split_line(char *line, char separator, const char *path, int number)
{
	char *at = separator ? strchr(line, separator) : NULL;

	if (separator && !at)
		return fail("unable to use '%s': line %d holds no tab between a name and a class%s", path, number,
			    strchr(line, ',') ? "; for a comma, try: tr , '\\t'" : "");
	if (at)
		*at = '\0';
	return 0;
}

static int split_text(struct lines *l, const char *path, char separator)
{
	char *rest = l->text, *line;

	for (int number = 1; (line = strsep(&rest, "\n")) != NULL; number++) {
		line[strcspn(line, "\r")] = '\0';
		if (!*line)
			continue;
		if (split_line(line, separator, path, number) < 0)
			return -1;
		if (l->count % 1024 == 0)
			l->keys = xrealloc(l->keys, l->count + 1024, sizeof(*l->keys));
		l->keys[l->count++] = line;
	}
	return l->count ? 0 : fail("unable to use '%s': it names nothing", path);
}

/* Of lines that say the same one counts; two that say different things of one name do not. */
static int drop_repeats(struct lines *l, const char *path, char separator)
{
	int n = 0;

	for (int i = 0; i < l->count; i++) {
		char *key = l->keys[i], *before = n ? l->keys[n - 1] : NULL;
		size_t value = strlen(key) + 1;

		if (!before || strcmp(before, key) != 0)
			l->keys[n++] = key;
		else if (separator && strcmp(before + value, key + value) != 0)
			return fail("unable to use '%s': it says both '%s' and '%s' of '%s'", path, before + value, key + value,
				    key);
	}
	l->count = n;
	return 0;
}

int lines_read(struct lines *l, const char *path, char separator)
{
	size_t size;

	*l = (struct lines){ 0 };
	if (read_text(path, 1 << 30, &l->text, &size) < 0)
		return -1;
	if (split_text(l, path, separator) < 0) {
		lines_release(l);
		return -1;
	}
	qsort(l->keys, l->count, sizeof(*l->keys), compare_keys);
	if (drop_repeats(l, path, separator) < 0) {
		lines_release(l);
		return -1;
	}
	l->met = xcalloc(l->count, sizeof(*l->met));
	return 0;
}

int lines_meet(struct lines *l, const struct dataset *d, int sample)
{
	const char *names[2] = { dataset_bare_name(d, sample), dataset_name(d, sample) };

	for (int i = 0; i < 2; i++) {
		char **at = bsearch(&names[i], l->keys, l->count, sizeof(*l->keys), compare_keys);

		if (at) {
			l->met[at - l->keys] = true;
			return (int)(at - l->keys);
		}
	}
	return -1;
}

void lines_release(struct lines *l)
{
	free(l->text);
	free(l->keys);
	free(l->met);
	*l = (struct lines){ 0 };
}
