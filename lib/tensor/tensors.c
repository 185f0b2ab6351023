#include "lib/tensor/tensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int tensors_map(struct tensors *f, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	memset(f, 0, sizeof(*f));
	if (fd < 0 || fstat(fd, &st) < 0) {
		fail("unable to open '%s':", path);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	if (S_ISDIR(st.st_mode)) {
		close(fd);
		return fail("unable to read '%s': it is a folder; name a file in it, such as model.safetensors", path);
	}
	if (!S_ISREG(st.st_mode) || st.st_size < 8) {
		close(fd);
		return fail("unable to read '%s': it is too short for a file of tensors, or no file", path);
	}
	f->map_size = st.st_size;
	f->map = mmap(NULL, f->map_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (f->map == MAP_FAILED) {
		f->map = NULL;
		return fail("unable to map '%s':", path);
	}
	return 0;
}

void tensors_close(struct tensors *f)
{
	for (int i = 0; i < f->count; i++)
		tensor_release(&f->tensors[i]);
	for (int i = 0; i < f->meta_count; i++) {
		free(f->meta[i].key);
		free(f->meta[i].value);
	}
	free(f->tensors);
	free(f->meta);
	if (f->map)
		munmap(f->map, f->map_size);
	memset(f, 0, sizeof(*f));
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

void tensors_sort(struct tensors *f)
{
	if (f->count > 0)
		qsort(f->tensors, f->count, sizeof(*f->tensors), by_name);
}

const struct tensor *tensors_find(const struct tensors *f, const char *name)
{
	struct tensor key;

	if (f->count == 0 || format(key.name, sizeof(key.name), "%s", name) < 0)
		return NULL;
	return bsearch(&key, f->tensors, f->count, sizeof(key), by_name);
}

const char *tensors_meta(const struct tensors *f, const char *key)
{
	for (int i = 0; i < f->meta_count; i++)
		if (strcmp(f->meta[i].key, key) == 0)
			return f->meta[i].value;
	return NULL;
}
