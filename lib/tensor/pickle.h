/*
 * pickle.h - what a Python pickle says, as a tree: nothing is ever called, imported or built
 *
 * The machine of Python's pickletools.py, protocols 2 to 5, as far as torch.save() goes. Where Python would call a function it
 * leaves a value that tells of the call. Values refer to one another by number, below count; they may do so in circles and share
 * what they hold, so whoever walks them needs a limit. There are at most as many values and links as the pickle has bytes.
 *
 *	struct pickle p;
 *	if (pickle_read(&p, path, data, size) < 0) return -1;
 *	const struct pickle_value *top = &p.values[p.top];
 *	if (top->kind == PICKLE_DICT)
 *		for (int i = top->first; i >= 0; i = p.links[i].next)
 *			visit(p.links[i].key, p.links[i].value);
 *	pickle_release(&p);                                        texts borrow from data
 */
#ifndef TENSOR_PICKLE_H
#define TENSOR_PICKLE_H

#include "lib/base/base.h"

enum pickle_kind {
	PICKLE_OTHER,      /* None, floats, bytes, numbers of more than 64 bits */
	PICKLE_NUMBER,     /* number; booleans too */
	PICKLE_TEXT,       /* text */
	PICKLE_NAME,       /* of a function or class: text, without its module */
	PICKLE_TUPLE,      /* links, without keys */
	PICKLE_LIST,       /* links, without keys; sets too */
	PICKLE_DICT,       /* links */
	PICKLE_CALL,       /* function, arguments; links are the items that were set in its result */
	PICKLE_REFERENCE,  /* arguments: what stands for an object outside */
};

struct pickle_value {
	enum pickle_kind kind;
	int first, last;           /* links; -1: none */
	int function, arguments;   /* values */
	int64_t number;
	const char *text;          /* length bytes, not ended by a zero */
	size_t length;
};

struct pickle_link {
	int key, value, next;      /* key and next: -1 for none */
};

struct pickle {
	struct pickle_value *values;
	struct pickle_link *links;
	int count, link_count, top;
	int room, link_room;
};

/* 0, or -1 after fail(), which names path. At most 16 MB. */
int pickle_read(struct pickle *p, const char *path, const void *data, size_t size);
void pickle_release(struct pickle *p);

/* The value of the n-th link, from 0; -1 when there is none. */
int pickle_item(const struct pickle *p, int value, int n);
bool pickle_text_is(const struct pickle_value *v, const char *text);

#endif
