#include "lib/image/tar_write.h"

enum { BLOCK = 512, NAME_MOST = 100, FLUSH_FROM = 1 << 20 };

static int flush(struct tar_out *t)
{
	size_t n = t->used;

	t->used = 0;
	return n && write_all(t->fd, t->block, n) < 0 ? fail("unable to write the tar:") : 0;
}

/* Appends data and zeros up to a whole block. */
static void append(struct tar_out *t, const void *data, size_t n)
{
	size_t whole = (n + BLOCK - 1) / BLOCK * BLOCK;

	if (t->used + whole > t->room) {
		t->room = MAX(2 * t->room, t->used + whole + FLUSH_FROM);
		t->block = xrealloc(t->block, t->room, 1);
	}
	if (n)
		memcpy(t->block + t->used, data, n);
	memset(t->block + t->used + n, 0, whole - n);
	t->used += whole;
}

static void header(struct tar_out *t, const char *name, size_t size, char type)
{
	char h[BLOCK] = "";
	unsigned sum = 0;

	memcpy(h, name, MIN(strlen(name), NAME_MOST));
	memcpy(h + 100, "0000644\0000000000\0000000000", 24);  /* mode, owner, group */
	snprintf(h + 124, 12, "%011llo", (unsigned long long)size);
	memcpy(h + 136, "00000000000", 12);                    /* time */
	memset(h + 148, ' ', 8);
	h[156] = type;
	memcpy(h + 257, "ustar\00000", 8);
	for (int i = 0; i < BLOCK; i++)
		sum += (uint8_t)h[i];
	snprintf(h + 148, 8, "%06o", sum);
	h[155] = ' ';
	append(t, h, BLOCK);
}

/* A pax record "LENGTH KEY=VALUE\n", whose length counts its own digits, as a member of its own. */
static void record(struct tar_out *t, char type, const char *key, const char *value)
{
	size_t body = strlen(key) + strlen(value) + 3, length = body + 1;
	char *text;

	while (length != body + (size_t)snprintf(NULL, 0, "%zu", length))
		length = body + (size_t)snprintf(NULL, 0, "%zu", length);
	text = xasprintf("%zu %s=%s\n", length, key, value);
	header(t, type == 'g' ? "pax_global_header" : "PaxHeader", length, type);
	append(t, text, length);
	free(text);
}

void tar_comment(struct tar_out *t, const char *text)
{
	record(t, 'g', "comment", text);
}

int tar_member(struct tar_out *t, const char *name, const void *data, size_t size)
{
	if (strlen(name) > NAME_MOST)
		record(t, 'x', "path", name);
	header(t, name, size, '0');
	append(t, data, size);
	return t->used >= FLUSH_FROM ? flush(t) : 0;
}

int tar_end(struct tar_out *t)
{
	static const uint8_t zeros[2 * BLOCK];

	append(t, zeros, sizeof(zeros));
	return flush(t);
}

void tar_out_release(struct tar_out *t)
{
	free(t->block);
	*t = (struct tar_out){ .fd = -1 };
}
