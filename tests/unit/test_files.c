/* Files that are read whole, and files that appear whole or not at all. */
#include "lib/base/files.h"
#include "tests/check.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/sprat-test-XXXXXX";

struct content {
	char fill;
	size_t size;
	bool failing, dying;
};

static int emit_content(int fd, void *arg)
{
	const struct content *c = arg;
	char block[4096];

	memset(block, c->fill, sizeof(block));
	for (size_t done = 0; done < c->size; done += sizeof(block)) {
		if (c->dying && done >= c->size / 2)
			raise(SIGKILL);
		if (write_all(fd, block, MIN(sizeof(block), c->size - done)) < 0)
			return fail("unable to write:");
	}
	return c->failing ? fail("no more to say") : 0;
}

/* The letter a file is made of, '?' when it is mixed or of another size; 0 when it cannot be read. */
static char letter_of(const char *path, size_t size)
{
	char *data, letter;
	size_t n;

	if (read_file(path, 1 << 28, (void **)&data, &n) < 0)
		return 0;
	letter = n == size ? data[0] : '?';
	for (size_t i = 0; i < n; i++)
		if (data[i] != letter)
			letter = '?';
	free(data);
	return letter;
}

static int write_letter(const char *path, char letter, size_t size)
{
	return write_whole(path, emit_content, &(struct content){ .fill = letter, .size = size });
}

static bool left_over(const char *path)
{
	char temporary[PATH_MAX];
	struct stat st;

	snprintf(temporary, sizeof(temporary), "%s.tmp", path);
	return stat(temporary, &st) == 0;
}

static void test_failures(const char *path)
{
	struct rlimit old, small = { 20000, RLIM_INFINITY };
	char missing[PATH_MAX];
	int r;

	r = write_whole(path, emit_content, &(struct content){ .fill = 'b', .size = 50000, .failing = true });
	check("a writer that gives up leaves the old file", r == -1 && letter_of(path, 50000) == 'a' && !left_over(path),
	      "%d \"%s\"", r, why());
	check("the writer's sentence is kept", !strcmp(why(), "no more to say"), "\"%s\"", why());
	getrlimit(RLIMIT_FSIZE, &old);
	small.rlim_max = old.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &small);
	r = write_letter(path, 'b', 50000);
	setrlimit(RLIMIT_FSIZE, &old);
	check("a full disk leaves the old file", r == -1 && letter_of(path, 50000) == 'a' && !left_over(path), "%d \"%s\"", r,
	      why());
	snprintf(missing, sizeof(missing), "%s/none/file", folder);
	check("a missing folder is named",
	      write_letter(missing, 'b', 10) == -1 && strstr(why(), missing) && strstr(why(), "No such file"), "\"%s\"", why());
	snprintf(missing, sizeof(missing), "%s/folder", folder);
	mkdir(missing, 0700);
	check("a folder is not replaced", write_letter(missing, 'b', 10) == -1 && strstr(why(), "rename") && !left_over(missing),
	      "\"%s\"", why());
}

/* Links lead to what is written, and devices stay devices. */
static void test_special(const char *path)
{
	char link[PATH_MAX], pipe_path[PATH_MAX], byte = 0;
	struct stat st;
	int fd, r;

	snprintf(link, sizeof(link), "%s/link", folder);
	symlink("file", link);
	r = write_letter(link, 'e', 100);
	check("a link is followed", r == 0 && lstat(link, &st) == 0 && S_ISLNK(st.st_mode) && letter_of(path, 100) == 'e',
	      "%d \"%s\"", r, why());
	snprintf(pipe_path, sizeof(pipe_path), "%s/pipe", folder);
	mkfifo(pipe_path, 0600);
	fd = open(pipe_path, O_RDWR);
	r = write_letter(pipe_path, 'f', 100);
	check("a pipe is written to",
	      r == 0 && read(fd, &byte, 1) == 1 && byte == 'f' && stat(pipe_path, &st) == 0 && S_ISFIFO(st.st_mode),
	      "%d \"%s\" '%c'", r, why(), byte);
	close(fd);
}

/* What was there is kept, by a writer that is done, and only then. */
static void test_keeping(const char *path)
{
	char kept[PATH_MAX];
	int r;

	snprintf(kept, sizeof(kept), "%s/kept", folder);
	unlink(path);
	r = write_keeping(path, kept, emit_content, &(struct content){ .fill = 'g', .size = 100 });
	check("where nothing was, nothing is kept", r == 0 && letter_of(path, 100) == 'g' && letter_of(kept, 100) == 0,
	      "%d \"%s\"", r, why());
	r = write_keeping(path, kept, emit_content, &(struct content){ .fill = 'h', .size = 100 });
	check("the old file is kept", r == 0 && letter_of(path, 100) == 'h' && letter_of(kept, 100) == 'g', "%d \"%s\"", r,
	      why());
	r = write_keeping(path, kept, emit_content, &(struct content){ .fill = 'i', .size = 100, .failing = true });
	check("a writer that gives up leaves both", r == -1 && letter_of(path, 100) == 'h' && letter_of(kept, 100) == 'g', "%d",
	      r);
	r = write_keeping(path, kept, emit_content, &(struct content){ .fill = 'j', .size = 100 });
	check("what was kept before makes room", r == 0 && letter_of(path, 100) == 'j' && letter_of(kept, 100) == 'h',
	      "%d \"%s\"", r, why());
	write_letter(path, 'a', 50000);
}

static void test_death(const char *path)
{
	pid_t child;
	int status;

	fflush(stdout);
	child = fork();
	if (child == 0)
		_exit(write_whole(path, emit_content, &(struct content){ .fill = 'c', .size = 50000, .dying = true }));
	waitpid(child, &status, 0);
	check("a writer killed half-way leaves the old file", WIFSIGNALED(status) && letter_of(path, 50000) == 'a', "status %d",
	      status);
	check("the next writer is not disturbed by what it left",
	      write_letter(path, 'd', 100) == 0 && letter_of(path, 100) == 'd' && !left_over(path), "\"%s\"", why());
}

/* A reader looks all the time while a file is replaced again and again. */
static void test_readers(const char *path)
{
	enum { SIZE = 1 << 20, TIMES = 40 };
	int mixed = 0, looks = 0;
	pid_t child;

	write_letter(path, 'a', SIZE);
	fflush(stdout);
	child = fork();
	if (child == 0) {
		for (int i = 0; i < TIMES; i++)
			write_letter(path, 'a' + i % 2, SIZE);
		_exit(0);
	}
	for (; waitpid(child, NULL, WNOHANG) == 0; looks++) {
		char letter = letter_of(path, SIZE);

		mixed += letter != 'a' && letter != 'b';
	}
	check("a reader sees the old file or the new one", mixed == 0 && looks > 0, "%d of %d looks saw neither", mixed, looks);
}

static void test_reading(const char *path)
{
	char *data;
	size_t n;
	int r;

	write_letter(path, 'x', 5000);
	r = read_file(path, 5000, (void **)&data, &n);
	check("a file of just the limit is read", r == 0 && n == 5000, "%d \"%s\"", r, why());
	if (r == 0)
		free(data);
	check("one byte more is refused", read_file(path, 4999, (void **)&data, &n) == -1 && strstr(why(), "larger than 4999"),
	      "\"%s\"", why());
	check("a folder is refused", read_file(folder, 100, (void **)&data, &n) == -1 && strstr(why(), "it is a folder"),
	      "\"%s\"", why());
	check("a missing file is refused",
	      read_file("/nowhere/x", 100, (void **)&data, &n) == -1 && strstr(why(), "'/nowhere/x'"), "\"%s\"", why());
	r = read_file("/proc/self/status", 1 << 20, (void **)&data, &n);
	check("a file that does not tell its size is read", r == 0 && n > 100, "%d", r);
	if (r == 0)
		free(data);
	check("an endless file is refused", read_file("/dev/zero", 100000, (void **)&data, &n) == -1, "it was read");
	r = read_file("/dev/null", 10, (void **)&data, &n);
	check("an empty file is read", r == 0 && n == 0, "%d", r);
	if (r == 0)
		free(data);
}

int main(void)
{
	char path[PATH_MAX];

	if (!mkdtemp(folder))
		bug("unable to make a folder");
	snprintf(path, sizeof(path), "%s/file", folder);
	check("a file appears", write_letter(path, 'a', 50000) == 0 && letter_of(path, 50000) == 'a' && !left_over(path),
	      "\"%s\"", why());
	test_failures(path);
	test_keeping(path);
	test_death(path);
	test_special(path);
	test_readers(path);
	test_reading(path);
	return check_done() | (system(xasprintf("rm -rf '%s'", folder)) != 0);
}
