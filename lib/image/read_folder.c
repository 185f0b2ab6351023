/* read_folder.c - a tree of pictures, class folders below it (torchvision's ImageFolder) */
#include "lib/image/reader.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

enum { DEPTH_MAX = 32 };

static bool folder_claims(const char *path, const struct stat *st, const uint8_t *head)
{
	(void)path;
	(void)head;
	return S_ISDIR(st->st_mode);
}

static int walk(struct dataset *d, int source, int fd, char *name, size_t used, int depth);

/* One entry of a folder; links are followed, hidden names and other files passed over. name: the folder's, with '/'. */
static int visit(struct dataset *d, int source, int fd, const char *entry, char *name, size_t used, int depth)
{
	struct stat st;
	int sub;

	if (entry[0] == '.')
		return 0;
	if (format(name + used, PATH_MAX - used - 1, "%s", entry) < 0)
		return fail("unable to use '%s/%s': the path is too long", d->sources[source].path, name);
	if (fstatat(fd, entry, &st, 0) < 0)
		return 0; /* a link that leads nowhere */
	if (S_ISREG(st.st_mode) && is_picture_name(entry))
		return dataset_add(d, source, name, 0, st.st_size) < 0 ? -1 : 0;
	if (!S_ISDIR(st.st_mode))
		return 0;
	if (depth == DEPTH_MAX)
		return fail("unable to use '%s/%s': folders nested deeper than %d", d->sources[source].path, name, DEPTH_MAX);
	sub = openat(fd, entry, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (sub < 0)
		return fail("unable to open '%s/%s':", d->sources[source].path, name);
	used += strlen(entry);
	name[used++] = '/';
	name[used] = '\0';
	return walk(d, source, sub, name, used, depth + 1);
}

/* Takes over fd. */
static int walk(struct dataset *d, int source, int fd, char *name, size_t used, int depth)
{
	DIR *dir = fdopendir(fd);
	struct dirent *e;
	int r = 0;

	if (!dir) {
		close(fd);
		return fail("unable to read '%s/%.*s':", d->sources[source].path, (int)used, name);
	}
	while (r == 0 && (e = readdir(dir)) != NULL)
		r = visit(d, source, fd, e->d_name, name, used, depth);
	closedir(dir);
	return r;
}

static int folder_scan(struct dataset *d, int source)
{
	char name[PATH_MAX] = "";
	int fd = openat(d->sources[source].fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return fail("unable to open '%s':", d->sources[source].path);
	return walk(d, source, fd, name, 0, 0);
}

const struct reader reader_folder = {
	{ "folder", "pictures below class folders", NULL }, folder_claims, folder_scan, load_file,
};
