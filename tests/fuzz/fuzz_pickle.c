/* fuzz_pickle.c - libFuzzer on the same, the input being the pickle alone: an archive of two storages is put around it */
#include "tests/fuzz/fuzz_tensors.h"
#include "lib/tensor/pth.h"

enum { LOCAL = 30, CENTRAL = 46, END = 22, FILES = 3, STORAGE = 64 };

static uint8_t *number(uint8_t *p, uint64_t v, int n)
{
	for (int i = 0; i < n; i++)
		p[i] = i < 8 ? (uint8_t)(v >> 8 * i) : 0;
	return p + n;
}

/* What a local header and the list of files both say of a file, from its flags on; then its name, behind more fields. */
static uint8_t *put_facts(uint8_t *p, size_t size, const char *name)
{
	p = number(p, 0, 12);                 /* flags, method, time, date, checksum */
	p = number(number(p, size, 4), size, 4);
	return number(number(p, strlen(name), 2), 0, 2);
}

static uint8_t *put_text(uint8_t *p, const void *text, size_t n)
{
	memcpy(p, text, n);
	return p + n;
}

static size_t put_archive(uint8_t *out, const uint8_t *pickle, size_t size)
{
	static const char *const names[FILES] = { "a/data.pkl", "a/data/0", "a/data/1" };
	static const uint8_t storage[STORAGE] = { 1, 2, 3 };
	size_t offsets[FILES], list;
	uint8_t *p = out;

	for (int i = 0; i < FILES; i++) {
		offsets[i] = p - out;
		p = put_facts(number(number(p, 0x04034b50, 4), 0, 2), i ? STORAGE : size, names[i]);
		p = put_text(p, names[i], strlen(names[i]));
		p = put_text(p, i ? storage : pickle, i ? STORAGE : size);
	}
	list = p - out;
	for (int i = 0; i < FILES; i++) {
		p = put_facts(number(number(p, 0x02014b50, 4), 0, 4), i ? STORAGE : size, names[i]);
		p = number(number(p, 0, 10), offsets[i], 4);
		p = put_text(p, names[i], strlen(names[i]));
	}
	size = p - out - list;
	p = number(number(number(number(p, 0x06054b50, 4), 0, 4), FILES, 2), FILES, 2);
	return number(number(number(p, size, 4), list, 4), 0, 2) - out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *whole = xmalloc(size + FILES * (LOCAL + CENTRAL + 2 * 16 + STORAGE) + END);
	int r = read_tensors(whole, put_archive(whole, data, size), pth_parse);

	free(whole);
	return r;
}
