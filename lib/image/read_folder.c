/* read_folder.c - a tree of pictures, class folders below it (torchvision's ImageFolder), in the order of the names */
#include "lib/image/folder_index.h"
#include "lib/image/reader.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

enum { DEPTH_MAX = 32 };

/* State of one pass over a tree. */
struct walk {
	struct dataset *d;
	int source, fd;
	struct folder_index index;
	char name[PATH_MAX];                        /* of the folder in hand, with its '/' */
	struct stat above[DEPTH_MAX + 1];           /* the folders that it lies in, by depth */
	struct listed {
		char *name;
		uint32_t size;
	} *listed;                                  /* entries of a folder being read */
	int listed_count, listed_room;
};

static bool folder_claims(const char *path, const struct stat *st, const uint8_t *head)
{
	(void)path;
	(void)head;
	return S_ISDIR(st->st_mode);
}

static const char *tree_of(const struct walk *w)
{
	return w->d->sources[w->source].path;
}

/* --- reading one folder --- */

static int compare_listed(const void *a, const void *b)
{
	return strcmp(((const struct listed *)a)->name, ((const struct listed *)b)->name);
}

static void list(struct walk *w, const char *name, bool folder, int64_t size)
{
	if (w->listed_count == w->listed_room) {
		w->listed_room = MAX(2 * w->listed_room, 1024);
		w->listed = xrealloc(w->listed, w->listed_room, sizeof(*w->listed));
	}
	w->listed[w->listed_count++] =
		(struct listed){ xasprintf("%s%s", name, folder ? "/" : ""), (uint32_t)MIN(size, UINT32_MAX) };
}

/* Whether a file of the folder in hand is listed: a picture, or of a kind that is told of. */
static bool is_listed(const struct walk *w, const char *name)
{
	char path[2 * PATH_MAX];

	if (kind_is_picture(name))
		return true;
	format(path, sizeof(path), "%s/%s%s", tree_of(w), w->name, name);
	return kind_of_name(path) >= 0;
}

/* One entry: links are followed, hidden names and other files passed over. False for a link that leads nowhere yet. */
static bool visit(struct walk *w, int fd, const struct dirent *e)
{
	bool listed = e->d_type != DT_DIR && is_listed(w, e->d_name);
	struct stat st;

	if (e->d_name[0] == '.' || (e->d_type == DT_REG && !listed))
		return true;
	if (e->d_type == DT_DIR) {
		list(w, e->d_name, true, 0);
		return true;
	}
	if (fstatat(fd, e->d_name, &st, 0) < 0)
		return false;
	if (S_ISDIR(st.st_mode) || (S_ISREG(st.st_mode) && listed))
		list(w, e->d_name, S_ISDIR(st.st_mode), S_ISDIR(st.st_mode) ? 0 : st.st_size);
	return true;
}

/* Reads the folder in hand from the disk into the index; that of a link that leads nowhere may change unseen. */
static int read_folder(struct walk *w, uint64_t stamp)
{
	int fd = openat(w->fd, *w->name ? w->name : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return fail("unable to open '%s/%s':", tree_of(w), w->name);
	}
	w->listed_count = 0;
	while ((e = readdir(dir)) != NULL)
		if (!visit(w, fd, e))
			stamp = 0;
	closedir(dir);
	if (w->listed_count)
		qsort(w->listed, w->listed_count, sizeof(*w->listed), compare_listed);
	folder_index_begin(&w->index, w->name, stamp);
	for (int i = 0; i < w->listed_count; i++) {
		folder_index_entry(&w->index, w->listed[i].name, w->listed[i].size);
		free(w->listed[i].name);
	}
	folder_index_end(&w->index);
	return 0;
}

/* --- the tree --- */

static int walk(struct walk *w, size_t used, int depth);

static void pass(const struct walk *w)
{
	char path[2 * PATH_MAX];

	format(path, sizeof(path), "%s/%s", tree_of(w), w->name);
	dataset_pass(w->d, path);
}

/* Whether the folder at this depth is one of those that it lies in: a link made a loop. */
static bool is_loop(const struct walk *w, int depth)
{
	for (int i = 0; i < depth; i++)
		if (w->above[i].st_ino == w->above[depth].st_ino && w->above[i].st_dev == w->above[depth].st_dev)
			return true;
	return false;
}

static int walk_entries(struct walk *w, size_t listing, size_t used, int depth)
{
	size_t at = folder_index_entries(&w->index, listing), end = w->index.used;
	const char *entry;
	uint32_t size;
	int r = 0;

	while (r == 0 && (entry = folder_index_next(&w->index, &at, end, &size)) != NULL) {
		size_t n = strlen(entry);

		if (format(w->name + used, sizeof(w->name) - used, "%s", entry) < 0)
			return fail("unable to use '%s/%s': the path is too long", tree_of(w), w->name);
		if (entry[n - 1] == '/')
			r = walk(w, used + n, depth + 1);
		else if (!kind_is_picture(entry))
			pass(w);
		else
			r = dataset_add(w->d, w->source, w->name, 0, size) < 0 ? -1 : 0;
		w->name[used] = '\0';
	}
	return r;
}

/* The folder in hand, whose name has used bytes, and all below it. */
static int walk(struct walk *w, size_t used, int depth)
{
	size_t listing = w->index.used;
	uint64_t stamp;

	if (depth > DEPTH_MAX)
		return fail("unable to use '%s/%s': folders nested deeper than %d", tree_of(w), w->name, DEPTH_MAX);
	if (fstatat(w->fd, *w->name ? w->name : ".", &w->above[depth], 0) < 0)
		return fail("unable to open '%s/%s':", tree_of(w), w->name);
	if (is_loop(w, depth)) {
		note("passed over '%s/%s': it leads back to a folder above it", tree_of(w), w->name);
		return 0;
	}
	stamp = folder_index_stamp(&w->above[depth]);
	if (!folder_index_find(&w->index, w->name, stamp) && read_folder(w, stamp) < 0)
		return -1;
	return walk_entries(w, listing, used, depth);
}

static int folder_scan(struct dataset *d, int source)
{
	struct walk *w = xcalloc(1, sizeof(*w));
	int r;

	w->d = d;
	w->source = source;
	w->fd = d->sources[source].fd;
	folder_index_open(&w->index, d->sources[source].path);
	r = walk(w, 0, 0);
	folder_index_close(&w->index, r == 0);
	free(w->listed);
	free(w);
	return r;
}

const struct reader reader_folder = {
	{ "folder", "pictures below class folders", NULL }, folder_claims, folder_scan, reader_load_file, reader_expect_file,
};
