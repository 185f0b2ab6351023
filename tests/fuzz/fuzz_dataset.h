/* fuzz_dataset.h - what the targets for data sets share: a file in memory, opened, every sample loaded */
#ifndef FUZZ_DATASET_H
#define FUZZ_DATASET_H

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/image/dataset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64];
static const char *const files[] = { "set.tar", "train-labels-idx1-ubyte", "train-images-idx3-ubyte", "lines" };

static void remove_files(void)
{
	char path[128];

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
		unlink(path);
	}
	rmdir(folder);
}

/* Writes one of the files in a folder of this process alone, in memory; its path. */
static const char *put_file(int file, const uint8_t *data, size_t size)
{
	static char path[128];
	int fd;

	verbosity = -1;
	if (!*folder) {
		snprintf(folder, sizeof(folder), "/dev/shm/sprat-fuzz-%d", (int)getpid());
		mkdir(folder, 0700);
		atexit(remove_files);
	}
	snprintf(path, sizeof(path), "%s/%s", folder, files[file]);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write_all(fd, data, size) < 0)
		abort();
	close(fd);
	return path;
}

/* Opens it and touches every byte that it says its samples have. */
static int open_all(const char *path)
{
	char *paths[] = { (char *)path };
	struct dataset *d = dataset_open(paths, 1, false);
	struct bytes scratch = BYTES_INIT;
	struct blob b;
	volatile uint64_t sum = 0;

	for (int i = 0; d && i < d->count; i++)
		if (dataset_load(d, i, &scratch, &b) == 0)
			sum += hash_bytes(HASH_INIT, b.data, b.size);
	bytes_release(&scratch);
	dataset_free(d);
	return 0;
}

#endif
