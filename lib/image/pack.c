#include "lib/image/pack.h"

#include <limits.h>
#include <omp.h>
#include <sys/stat.h>

#include "lib/base/files.h"
#include "lib/image/codec.h"
#include "lib/image/exif.h"
#include "lib/image/tar_write.h"
#include "lib/image/worker.h"

enum { SLOTS = 64, QUALITY = 90, COMMENT = 256 };

/* One sample on its way into a shard. */
struct slot {
	const char *extension;  /* NULL: unreadable */
	void *data;
	size_t size;
	char why[256];
};

struct packer {
	const struct dataset *d;
	const struct pack_options *o;
	struct worker *workers;
	int worker_count;
	struct slot slots[SLOTS];
	int first, end;         /* samples of the shard in hand */
	int bad;
	char comment[COMMENT];
};

/* --- names --- */

/* The pattern with its number filled in; NULL after fail(). */
static char *shard_path(const char *pattern, int number)
{
	const char *percent = strchr(pattern, '%');
	size_t digits = percent ? strspn(percent + 1, "0123456789") : 0;
	int width = percent ? (int)strtol(percent + 1, NULL, 10) : 0;

	if (!percent || digits > 2 || percent[1 + digits] != 'd' || strchr(percent + 1, '%')) {
		fail_code(EXIT_USAGE, "--pack '%s' has no place for the shard's number; try small-%%06d.tar", pattern);
		return NULL;
	}
	return xasprintf("%.*s%0*d%s", (int)(percent - pattern), pattern, width, number, percent + digits + 2);
}

/* The sample's name without its extension, other dots of the file's name made '_'. */
static void key_of(const struct dataset *d, int sample, char key[PATH_MAX])
{
	char *base, *dot;

	format(key, PATH_MAX, "%s", dataset_name(d, sample));
	base = strrchr(key, '/') ? strrchr(key, '/') + 1 : key;
	dot = strrchr(base, '.');
	if (dot && dot > base)
		*dot = '\0';
	while ((dot = strchr(base, '.')) != NULL)
		*dot = '_';
}

struct hashed {
	uint64_t hash;
	int sample;
};

static int compare_hashed(const void *a, const void *b)
{
	const struct hashed *x = a, *y = b;

	return x->hash != y->hash ? (x->hash < y->hash ? -1 : 1) : x->sample - y->sample;
}

/* A key stands for one sample only. */
static int check_keys(const struct dataset *d)
{
	struct hashed *h = xcalloc(d->count, sizeof(*h));
	char key[PATH_MAX];
	int r = 0;

	for (int i = 0; i < d->count; i++) {
		key_of(d, i, key);
		h[i] = (struct hashed){ hash_bytes(HASH_INIT, key, strlen(key)), i };
	}
	qsort(h, d->count, sizeof(*h), compare_hashed);
	for (int i = 1; i < d->count && r == 0; i++)
		if (h[i].hash == h[i - 1].hash) {
			key_of(d, h[i].sample, key);
			r = fail("unable to pack '%s' and '%s': both would be called '%s'; rename one",
				 dataset_name(d, h[i - 1].sample), dataset_name(d, h[i].sample), key);
		}
	free(h);
	return r;
}

/* --- one sample --- */

/* Encodes the decoded picture, resized when it is too large, as JPEG; raw pixels that are small enough as PNG. */
static int encode(const struct packer *p, struct worker *w, struct slot *s)
{
	int width = w->picture.w, height = w->picture.h, side = MIN(width, height), r;
	int64_t want = p->o->short_side && side > p->o->short_side ? p->o->short_side : side;
	int out_w = (int)(want * width / side), out_h = (int)(want * height / side);
	uint8_t *rgb = xmalloc((size_t)out_w * out_h * 3);

	worker_resize(w, out_w, out_h, FILTER_BICUBIC, rgb);
	if (w->blob.kind != BLOB_FILE && want == side) {
		s->extension = "png";
		r = png_encode(rgb, out_w, out_h, &s->data, &s->size);
	} else {
		s->extension = "jpg";
		r = jpeg_encode(rgb, out_w, out_h, QUALITY, &s->data, &s->size);
	}
	free(rgb);
	return r;
}

static int make(const struct packer *p, struct worker *w, int sample, struct slot *s)
{
	const struct pack_options *o = p->o;
	const struct blob *b = &w->blob;
	bool file, turned;

	if (worker_read(w, p->d, sample) < 0)
		return -1;
	file = b->kind == BLOB_FILE;
	turned = file && o->exif && exif_orientation(b->data, b->size) != 1;
	if (!file || turned || (o->short_side && MIN(w->picture.w, w->picture.h) > o->short_side))
		return encode(p, w, s);
	s->extension = decoder_extension(w->decoder);
	s->size = b->size;
	s->data = xmalloc(b->size);
	memcpy(s->data, b->data, b->size);
	return 0;
}

static void fill_slot(const struct packer *p, struct worker *w, int sample, struct slot *s)
{
	*s = (struct slot){ 0 };
	if (make(p, w, sample, s) == 0)
		return;
	s->extension = NULL;
	format(s->why, sizeof(s->why), "%s", why());
}

/* --- a shard --- */

static int write_sample(struct packer *p, struct tar_out *t, int sample, const struct slot *s)
{
	char key[PATH_MAX], name[PATH_MAX + 8], label[16];

	if (!s->extension) {
		note("left out '%s': %s", dataset_name(p->d, sample), s->why);
		if (++p->bad > dataset_bad_most(p->o->max_bad, p->d->count))
			return fail("too many unreadable images, %d of %d (--max-bad %g); the last, '%s': %s", p->bad,
				    p->d->count, p->o->max_bad, dataset_name(p->d, sample), s->why);
		return 0;
	}
	key_of(p->d, sample, key);
	format(name, sizeof(name), "%s.%s", key, s->extension);
	if (tar_member(t, name, s->data, s->size) < 0)
		return -1;
	if (p->d->samples[sample].label < 0)
		return 0;
	format(name, sizeof(name), "%s.cls", key);
	snprintf(label, sizeof(label), "%d", p->d->samples[sample].label);
	return tar_member(t, name, label, strlen(label));
}

/* Blocks of samples: all threads make, then one writes in order. */
static int write_samples(struct packer *p, struct tar_out *t)
{
	int r = 0;

	for (int begin = p->first; begin < p->end && r == 0; begin += SLOTS) {
		int n = MIN(SLOTS, p->end - begin);

#pragma omp parallel for schedule(dynamic, 1) num_threads(p->worker_count)
		for (int i = 0; i < n; i++)
			fill_slot(p, &p->workers[omp_get_thread_num()], begin + i, &p->slots[i]);
		for (int i = 0; i < n; i++) {
			if (r == 0)
				r = write_sample(p, t, begin + i, &p->slots[i]);
			free(p->slots[i].data);
		}
	}
	return r;
}

static int emit(int fd, void *packer)
{
	struct packer *p = packer;
	struct tar_out t = { .fd = fd };
	int r;

	tar_comment(&t, p->comment);
	r = write_samples(p, &t);
	if (r == 0)
		r = tar_end(&t);
	tar_out_release(&t);
	return r;
}

/* Whether a shard is there: 1, 0, or -1 after fail() when it holds something else. */
static int find_shard(const struct packer *p, const char *path)
{
	char head[3 * 512] = "";
	FILE *f = fopen(path, "rb");
	size_t n = f ? fread(head, 1, sizeof(head) - 1, f) : 0;

	if (!f)
		return 0;
	fclose(f);
	if (n > 512 && strstr(head + 512, p->comment))
		return 1;
	return fail("unable to write '%s': it is there, made of other data or with other options; remove it or choose another "
		    "name",
		    path);
}

/* What the shard in hand is made from, so that it can be told from others. */
static void describe(struct packer *p)
{
	uint64_t labels = HASH_INIT;

	for (int i = p->first; i < p->end; i++)
		labels = hash_bytes(labels, &p->d->samples[i].label, sizeof(p->d->samples[i].label));
	format(p->comment, sizeof(p->comment),
	       "sprat pack of %s, labels %016llx, samples %d to %d, short side %lld, exif %d, quality %d", p->d->fingerprint,
	       (unsigned long long)labels, p->first, p->end, (long long)p->o->short_side, p->o->exif, QUALITY);
}

static int write_shard(struct packer *p, int number, int64_t *bytes)
{
	char *path = shard_path(p->o->pattern, number);
	struct stat st;
	int found = -1;

	p->first = (int)(number * p->o->shard);
	p->end = (int)MIN(p->first + p->o->shard, p->d->count);
	describe(p);
	if (path)
		found = find_shard(p, path);
	if (found == 0 && write_whole(path, emit, p) < 0)
		found = -1;
	if (found >= 0 && stat(path, &st) == 0)
		*bytes += st.st_size;
	if (found == 1)
		note("'%s' is there already", path);
	free(path);
	return found < 0 ? -1 : 0;
}

int pack_write(const struct dataset *d, const struct pack_options *o)
{
	struct packer *p = xcalloc(1, sizeof(*p));
	int64_t before = 0, after = 0;
	int shards = (int)((d->count + o->shard - 1) / o->shard), r = check_keys(d);

	p->d = d;
	p->o = o;
	p->worker_count = omp_get_max_threads();
	p->workers = xcalloc(p->worker_count, sizeof(*p->workers));
	for (int i = 0; i < p->worker_count; i++)
		worker_init(&p->workers[i], o->exif, 0);
	for (int i = 0; i < d->count; i++)
		before += d->samples[i].size;
	for (int i = 0; i < shards && r == 0; i++)
		r = write_shard(p, i, &after);
	if (r == 0)
		note("%d images of %.1f MB are %.1f MB in %d shards now (%.0f %%)", d->count - p->bad, before / 1e6, after / 1e6,
		     shards, 100.0 * after / MAX(before, 1));
	for (int i = 0; i < p->worker_count; i++)
		worker_release(&p->workers[i]);
	free(p->workers);
	free(p);
	return r;
}
