/*
 * record.h - one message between stages: a kind, named scalars, named tensors, and names
 *
 * A record owns its tensors (tensor.h); record_release() gives them back. Everything is bounded by the wire's limits
 * (wire.5), so a record needs no memory of its own and can be reused for ever, after a reset: till then replaced texts stay.
 *
 *	struct record *r = record_new(KIND_BATCH);
 *	record_set_int(r, "step", 12);
 *	record_add(r, tensor_share(&q0));                 the record now holds a reference
 *	const struct tensor *k = record_find(r, "k1");    NULL when absent; borrowed
 *	record_free(r);
 */
#ifndef STREAM_RECORD_H
#define STREAM_RECORD_H

#include "lib/tensor/tensor.h"

/* The table of kinds in wire.5, in its order. */
enum kind { KIND_OPEN, KIND_SCHEMA, KIND_WANT, KIND_BATCH, KIND_GRAD, KIND_END, KIND_FAULT, KIND_CLOSE, KINDS };
const char *kind_name(enum kind k);

#define RECORD_TENSORS 256      /* 16 views of an encode, a teacher, and more */
#define RECORD_SCALARS 128
#define RECORD_NAMES 256
#define RECORD_FACTS 96         /* of a schema */
#define RECORD_CLIENT_FACTS 12  /* of an open: both and a stage's own scalars fit into one record */
#define SCALAR_NAME 40
#define SCALAR_TEXT 1024

enum scalar_type { SCALAR_BOOL, SCALAR_INT, SCALAR_REAL, SCALAR_STR };

struct scalar {
	char name[SCALAR_NAME];
	enum scalar_type type;
	union {
		bool flag;
		int64_t integer;
		double real;
		int text;              /* offset in the record's texts */
	};
};

struct record {
	enum kind kind;
	int scalar_count, tensor_count, offer_count, name_count;
	struct scalar scalars[RECORD_SCALARS];
	struct tensor tensors[RECORD_TENSORS];  /* sent as frames */
	struct tensor offers[RECORD_TENSORS];   /* schema: what can be asked for, no data */
	char names[RECORD_NAMES][TENSOR_NAME];  /* want: what is asked for */
	char texts[21672];
	int texts_used;
};

struct record *record_new(enum kind kind);
void record_free(struct record *r);                 /* NULL is fine */
void record_reset(struct record *r, enum kind kind);/* releases everything, keeps the memory */

/* Set or replace. Running out of room is a bug of the caller, not of the peer (the wire refuses such messages). */
void record_set_bool(struct record *r, const char *name, bool v);
void record_set_int(struct record *r, const char *name, int64_t v);
void record_set_real(struct record *r, const char *name, double v);
void record_set_text(struct record *r, const char *name, const char *v);   /* at most SCALAR_TEXT - 1 bytes, longer is cut */

/* The value, or otherwise when the name is absent or of another type (an integer serves as a real). */
bool record_bool(const struct record *r, const char *name, bool otherwise);
int64_t record_int(const struct record *r, const char *name, int64_t otherwise);
double record_real(const struct record *r, const char *name, double otherwise);
const char *record_text(const struct record *r, const char *name, const char *otherwise);
const struct scalar *record_scalar(const struct record *r, const char *name);
/* A scalar's value as text, the way messages and metadata show it. */
const char *record_show(const struct record *r, const struct scalar *s, char *dst, size_t size);

void record_add(struct record *r, struct tensor t);               /* takes over t's reference */
const struct tensor *record_find(const struct record *r, const char *name);
/* Offers a name, once: the first offer stands. */
void record_offer(struct record *r, const char *name, enum dtype d, int rank, const int64_t *shape);
const struct tensor *record_offered(const struct record *r, const char *name);
void record_name(struct record *r, const char *name);             /* adds a name, once */
bool record_named(const struct record *r, const char *name);

/* Long texts (lineage, class names) travel as u8 tensors. The returned copy is freed by the caller; "" when absent. */
void record_add_text(struct record *r, const char *name, const char *text);
char *record_long_text(const struct record *r, const char *name);

/* Run facts are scalars whose names begin with "fact.". */
void record_copy_facts(struct record *to, const struct record *from);
/* Checks that a record of another stage, called whose, has at most so many facts, of short enough texts, to be taken over. */
int record_check_facts(const struct record *r, int most, const char *whose);
/* Name (without "fact.") of the first fact that both have and that differs, or that from has and a misses; NULL when none. */
const char *record_facts_differ(const struct record *a, const struct record *from);

#endif
