#include "lib/image/folder_index.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/files.h"

enum { RECENT = 2, INDEX_MOST = 1 << 30, TAIL = sizeof(uint64_t) };

static const char magic[] = "sprat folders 2";

/* A listing: this, the folder's name, NUL, then its entries: size as u32, name, NUL. */
struct head {
	uint64_t stamp;
	uint32_t folder_bytes, entry_bytes;
};

/* --- where it lies --- */

/* $XDG_CACHE_HOME/sprat/folders-HASH, its folders made; NULL without a home. */
static char *index_path(const char *root)
{
	const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	char *base, *folder, *path;

	if ((!cache || *cache != '/') && (!home || *home != '/'))
		return NULL;
	base = cache && *cache == '/' ? xstrdup(cache) : xasprintf("%s/.cache", home);
	folder = xasprintf("%s/sprat", base);
	path = xasprintf("%s/folders-%016llx", folder, (unsigned long long)hash_bytes(HASH_INIT, root, strlen(root)));
	if (access(folder, W_OK) < 0) {
		mkdir(base, 0700); /* what fails here is told when the index is written */
		mkdir(folder, 0700);
	}
	free(base);
	free(folder);
	return path;
}

/* --- reading --- */

static struct head head_at(const uint8_t *p)
{
	struct head h;

	memcpy(&h, p, sizeof(h));
	return h;
}

static size_t listing_bytes(struct head h)
{
	return sizeof(h) + h.folder_bytes + h.entry_bytes;
}

/* Finds where the listings of x->old begin, n bytes without the hash. false: it is no index of this tree. */
static bool find_listings(struct folder_index *x, size_t n)
{
	size_t at = sizeof(magic) + strlen(x->root) + 1;

	if (n < at || memcmp(x->old, magic, sizeof(magic)) != 0 ||
	    memcmp(x->old + sizeof(magic), x->root, strlen(x->root) + 1) != 0)
		return false;
	for (; at < n; at += listing_bytes(head_at(x->old + at))) {
		if (n - at < sizeof(struct head) || listing_bytes(head_at(x->old + at)) > n - at)
			return false;
		if (x->listing_count % 1024 == 0)
			x->listings = xrealloc(x->listings, x->listing_count + 1024, sizeof(*x->listings));
		x->listings[x->listing_count++] = at;
	}
	return true;
}

static void read_old(struct folder_index *x)
{
	void *data;
	size_t size;
	uint64_t hash;

	if (read_file(x->path, INDEX_MOST, &data, &size) < 0)
		return;
	x->old = data;
	if (size > TAIL)
		memcpy(&hash, x->old + size - TAIL, TAIL);
	if (size <= TAIL || hash != hash_bytes(HASH_INIT, x->old, size - TAIL) || !find_listings(x, size - TAIL))
		x->listing_count = 0;
}

/* --- the new one --- */

static void append(struct folder_index *x, const void *data, size_t n)
{
	if (x->used + n > x->room) {
		x->room = MAX(2 * x->room, x->used + n + 65536);
		x->new = xrealloc(x->new, x->room, 1);
	}
	memcpy(x->new + x->used, data, n);
	x->used += n;
}

void folder_index_open(struct folder_index *x, const char *root)
{
	*x = (struct folder_index){ .root = realpath(root, NULL) };
	x->path = x->root ? index_path(x->root) : NULL;
	append(x, magic, sizeof(magic));
	append(x, x->root ? x->root : "", (x->root ? strlen(x->root) : 0) + 1);
	if (x->path)
		read_old(x);
}

static int emit(int fd, void *index)
{
	struct folder_index *x = index;

	return write_all(fd, x->new, x->used) < 0 ? fail("unable to write '%s':", x->path) : 0;
}

void folder_index_close(struct folder_index *x, bool keep)
{
	uint64_t hash = hash_bytes(HASH_INIT, x->new, x->used);

	if (keep && x->path && x->changed && x->entries >= FOLDER_INDEX_FROM) {
		append(x, &hash, sizeof(hash));
		if (write_whole(x->path, emit, x) < 0)
			note("kept no index of '%s': %s", x->root, why());
	}
	free(x->path);
	free(x->root);
	free(x->old);
	free(x->listings);
	free(x->new);
}

/* --- listings --- */

uint64_t folder_index_stamp(const struct stat *st)
{
	struct timespec t;
	int64_t latest = MAX(st->st_mtim.tv_sec, st->st_ctim.tv_sec);
	uint64_t facts[] = {
		st->st_dev, st->st_ino, st->st_nlink, (uint64_t)st->st_size, (uint64_t)st->st_mtim.tv_sec,
		(uint64_t)st->st_mtim.tv_nsec, (uint64_t)st->st_ctim.tv_sec, (uint64_t)st->st_ctim.tv_nsec,
	};

	clock_gettime(CLOCK_REALTIME, &t);
	return latest + RECENT >= t.tv_sec ? 0 : hash_bytes(HASH_INIT, facts, sizeof(facts)) | 1;
}

bool folder_index_find(struct folder_index *x, const char *folder, uint64_t stamp)
{
	int low = 0, high = x->listing_count;
	struct head h;

	while (low < high) {
		int middle = (low + high) / 2;

		if (strcmp((const char *)x->old + x->listings[middle] + sizeof(struct head), folder) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (stamp == 0 || low == x->listing_count)
		return false;
	h = head_at(x->old + x->listings[low]);
	if (h.stamp != stamp || strcmp((const char *)x->old + x->listings[low] + sizeof(h), folder) != 0)
		return false;
	append(x, x->old + x->listings[low], listing_bytes(h));
	return true;
}

void folder_index_begin(struct folder_index *x, const char *folder, uint64_t stamp)
{
	struct head h = { stamp, (uint32_t)strlen(folder) + 1, 0 };

	x->begun = x->used;
	x->changed = true;
	append(x, &h, sizeof(h));
	append(x, folder, h.folder_bytes);
}

void folder_index_entry(struct folder_index *x, const char *name, uint32_t size)
{
	append(x, &size, sizeof(size));
	append(x, name, strlen(name) + 1);
}

void folder_index_end(struct folder_index *x)
{
	struct head h = head_at(x->new + x->begun);

	h.entry_bytes = (uint32_t)(x->used - x->begun - sizeof(h) - h.folder_bytes);
	memcpy(x->new + x->begun, &h, sizeof(h));
}

size_t folder_index_entries(const struct folder_index *x, size_t listing)
{
	return listing + sizeof(struct head) + head_at(x->new + listing).folder_bytes;
}

const char *folder_index_next(struct folder_index *x, size_t *at, size_t end, uint32_t *size)
{
	const char *name = (const char *)x->new + *at + sizeof(*size);

	if (*at >= end)
		return NULL;
	memcpy(size, x->new + *at, sizeof(*size));
	*at += sizeof(*size) + strlen(name) + 1;
	x->entries++;
	return name;
}
