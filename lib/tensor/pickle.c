#include "lib/tensor/pickle.h"

enum { PICKLE_MOST = 16 << 20, MARK = -1 };

/* A growing list of value numbers. */
struct list {
	int *v;
	int count, room;
};

struct machine {
	const char *path;
	const uint8_t *at, *end;
	struct pickle *p;
	struct list stack, memo;
	int from, below;           /* the stack's part that an operation takes, and where it ends before that and its mark */
	int64_t n;                 /* what stands behind the operation's byte, or in its row */
	const char *text;
	size_t length;
	bool done;
};

static int refuse(const struct machine *m, const char *cause)
{
	return fail("unable to read '%s': its pickle %s; it is damaged, or not written by torch.save", m->path, cause);
}

/* --- values, links --- */

static void append(struct list *l, int value)
{
	if (l->count == l->room) {
		l->room = MAX(64, 2 * l->room);
		l->v = xrealloc(l->v, l->room, sizeof(*l->v));
	}
	l->v[l->count++] = value;
}

static int new_value(struct pickle *p, struct pickle_value v)
{
	if (p->count == p->room) {
		p->room = MAX(64, 2 * p->room);
		p->values = xrealloc(p->values, p->room, sizeof(*p->values));
	}
	v.first = v.last = -1;
	p->values[p->count] = v;
	return p->count++;
}

static void link_to(struct pickle *p, struct pickle_value *to, int key, int value)
{
	if (p->link_count == p->link_room) {
		p->link_room = MAX(64, 2 * p->link_room);
		p->links = xrealloc(p->links, p->link_room, sizeof(*p->links));
	}
	p->links[p->link_count] = (struct pickle_link){ key, value, -1 };
	if (to->first < 0)
		to->first = p->link_count;
	else
		p->links[to->last].next = p->link_count;
	to->last = p->link_count++;
}

/* --- operations: what they take stands on the stack from m->from on; the stack then ends at m->below --- */

/* The one value that an operation leaves. */
static int leave(struct machine *m, struct pickle_value v)
{
	m->stack.count = m->below;
	append(&m->stack, new_value(m->p, v));
	return 0;
}

static int run_drop(struct machine *m)
{
	m->stack.count = m->below;
	return 0;
}

static int run_stop(struct machine *m)
{
	m->p->top = m->stack.v[m->from];
	m->done = true;
	return 0;
}

static int run_mark(struct machine *m)
{
	append(&m->stack, MARK);
	return 0;
}

/* An empty value of kind n. */
static int run_new(struct machine *m)
{
	return leave(m, (struct pickle_value){ .kind = (enum pickle_kind)m->n });
}

static int run_number(struct machine *m)
{
	return leave(m, (struct pickle_value){ .kind = PICKLE_NUMBER, .number = m->n });
}

static int run_signed(struct machine *m)
{
	return leave(m, (struct pickle_value){ .kind = PICKLE_NUMBER, .number = (int32_t)m->n });
}

/* A number of any length, two's complement. */
static int run_long(struct machine *m)
{
	uint64_t v = m->length && (m->text[m->length - 1] & 0x80) ? ~0ULL : 0;

	for (size_t i = m->length; i-- > 0;)
		v = v << 8 | (uint8_t)m->text[i];
	return leave(m, (struct pickle_value){ .kind = m->length <= 8 ? PICKLE_NUMBER : PICKLE_OTHER, .number = (int64_t)v });
}

/* A text, or a name: of kind n. */
static int run_text(struct machine *m)
{
	return leave(m, (struct pickle_value){ .kind = (enum pickle_kind)m->n, .text = m->text, .length = m->length });
}

/* Module and name from the stack. */
static int run_stack_name(struct machine *m)
{
	struct pickle_value v = m->p->values[m->stack.v[m->from + 1]];

	v.kind = v.kind == PICKLE_TEXT ? PICKLE_NAME : PICKLE_OTHER;
	return leave(m, v);
}

static int run_tuple(struct machine *m)
{
	int at = new_value(m->p, (struct pickle_value){ .kind = PICKLE_TUPLE });

	for (int i = m->from; i < m->stack.count; i++)
		link_to(m->p, &m->p->values[at], -1, m->stack.v[i]);
	m->stack.count = m->below;
	append(&m->stack, at);
	return 0;
}

/* Links for the value below, singly (n = 1) or in pairs (2). */
static int run_add(struct machine *m)
{
	if (m->below == 0 || m->stack.v[m->below - 1] == MARK)
		return refuse(m, "takes from an empty stack");
	if ((m->stack.count - m->from) % m->n)
		return refuse(m, "sets a key without a value");
	for (int i = m->from; i < m->stack.count; i += (int)m->n)
		link_to(m->p, &m->p->values[m->stack.v[m->below - 1]], m->n == 2 ? m->stack.v[i] : -1, m->stack.v[i + m->n - 1]);
	m->stack.count = m->below;
	return 0;
}

static int run_call(struct machine *m)
{
	return leave(m, (struct pickle_value){ .kind = PICKLE_CALL, .function = m->stack.v[m->from],
					       .arguments = m->stack.v[m->from + 1] });
}

static int run_reference(struct machine *m)
{
	return leave(m, (struct pickle_value){ .kind = PICKLE_REFERENCE, .arguments = m->stack.v[m->from] });
}

/* Takes what it keeps and leaves it. Pickles number what they keep one after another: a memo is never longer than its pickle. */
static int run_put(struct machine *m)
{
	if (m->n > m->memo.count)
		return refuse(m, "keeps things out of order");
	if (m->n == m->memo.count)
		append(&m->memo, 0);
	m->memo.v[m->n] = m->stack.v[m->from];
	return 0;
}

static int run_memoize(struct machine *m)
{
	m->n = m->memo.count;
	return run_put(m);
}

static int run_get(struct machine *m)
{
	if (m->n >= m->memo.count)
		return refuse(m, "recalls what it never kept");
	append(&m->stack, m->memo.v[m->n]);
	return 0;
}

/* --- the table of operations --- */

/* What follows an operation's byte: nothing, a number, a text behind its length, two lines, bytes of no use. */
enum form { NOTHING, NUMBER, TEXT, LINES, SKIP };
enum { MARKED = -1 };      /* takes all that stands behind the last mark, and the mark */

static const struct operation {
	int (*run)(struct machine *m);
	int takes;               /* values from the stack */
	enum form form;
	int width;               /* of the number, or of the length: 1, 2, 4 or 8 bytes */
	int n;                   /* where no number follows */
} operations[256] = {
	[0x80] = { run_drop, 0, NUMBER, 1, 0 },                   /* PROTO */
	[0x95] = { run_drop, 0, SKIP, 8, 0 },                     /* FRAME */
	['.'] = { run_stop, 1, NOTHING, 0, 0 },
	['('] = { run_mark, 0, NOTHING, 0, 0 },
	['N'] = { run_new, 0, NOTHING, 0, PICKLE_OTHER },
	['}'] = { run_new, 0, NOTHING, 0, PICKLE_DICT },
	[']'] = { run_new, 0, NOTHING, 0, PICKLE_LIST },
	[0x8f] = { run_new, 0, NOTHING, 0, PICKLE_LIST },         /* EMPTY_SET */
	['G'] = { run_new, 0, SKIP, 8, PICKLE_OTHER },            /* BINFLOAT */
	['B'] = { run_new, 0, TEXT, 4, PICKLE_OTHER },            /* BINBYTES */
	['C'] = { run_new, 0, TEXT, 1, PICKLE_OTHER },
	[0x8e] = { run_new, 0, TEXT, 8, PICKLE_OTHER },
	[0x96] = { run_new, 0, TEXT, 8, PICKLE_OTHER },           /* BYTEARRAY8 */
	['K'] = { run_number, 0, NUMBER, 1, 0 },                  /* BININT1 */
	['M'] = { run_number, 0, NUMBER, 2, 0 },
	['J'] = { run_signed, 0, NUMBER, 4, 0 },
	[0x88] = { run_number, 0, NOTHING, 0, 1 },                /* NEWTRUE */
	[0x89] = { run_number, 0, NOTHING, 0, 0 },
	[0x8a] = { run_long, 0, TEXT, 1, 0 },                     /* LONG1 */
	[0x8b] = { run_long, 0, TEXT, 4, 0 },
	['X'] = { run_text, 0, TEXT, 4, PICKLE_TEXT },            /* BINUNICODE */
	[0x8c] = { run_text, 0, TEXT, 1, PICKLE_TEXT },
	[0x8d] = { run_text, 0, TEXT, 8, PICKLE_TEXT },
	['T'] = { run_text, 0, TEXT, 4, PICKLE_TEXT },            /* BINSTRING, of Python 2 */
	['U'] = { run_text, 0, TEXT, 1, PICKLE_TEXT },
	['c'] = { run_text, 0, LINES, 0, PICKLE_NAME },           /* GLOBAL */
	[0x93] = { run_stack_name, 2, NOTHING, 0, 0 },
	[')'] = { run_tuple, 0, NOTHING, 0, 0 },
	[0x85] = { run_tuple, 1, NOTHING, 0, 0 },
	[0x86] = { run_tuple, 2, NOTHING, 0, 0 },
	[0x87] = { run_tuple, 3, NOTHING, 0, 0 },
	['t'] = { run_tuple, MARKED, NOTHING, 0, 0 },
	[0x91] = { run_tuple, MARKED, NOTHING, 0, 0 },            /* FROZENSET */
	['a'] = { run_add, 1, NOTHING, 0, 1 },                    /* APPEND */
	['s'] = { run_add, 2, NOTHING, 0, 2 },                    /* SETITEM */
	['e'] = { run_add, MARKED, NOTHING, 0, 1 },
	[0x90] = { run_add, MARKED, NOTHING, 0, 1 },              /* ADDITEMS */
	['u'] = { run_add, MARKED, NOTHING, 0, 2 },
	['R'] = { run_call, 2, NOTHING, 0, 0 },                   /* REDUCE */
	[0x81] = { run_call, 2, NOTHING, 0, 0 },                  /* NEWOBJ */
	[0x92] = { run_call, 3, NOTHING, 0, 0 },                  /* NEWOBJ_EX: its keywords are let go */
	['Q'] = { run_reference, 1, NOTHING, 0, 0 },              /* BINPERSID */
	['b'] = { run_drop, 1, NOTHING, 0, 0 },                   /* BUILD: an object's attributes are let go */
	['0'] = { run_drop, 1, NOTHING, 0, 0 },                   /* POP */
	['1'] = { run_drop, MARKED, NOTHING, 0, 0 },
	['q'] = { run_put, 1, NUMBER, 1, 0 },                     /* BINPUT */
	['r'] = { run_put, 1, NUMBER, 4, 0 },
	[0x94] = { run_memoize, 1, NOTHING, 0, 0 },
	['h'] = { run_get, 0, NUMBER, 1, 0 },                     /* BINGET */
	['j'] = { run_get, 0, NUMBER, 4, 0 },
};

/* --- reading --- */

/* The next n bytes; NULL when there are no more. */
static const uint8_t *take(struct machine *m, uint64_t n)
{
	const uint8_t *at = m->at;

	if (n > (uint64_t)(m->end - at))
		return NULL;
	m->at += n;
	return at;
}

static bool take_number(struct machine *m, int width, uint64_t *v)
{
	const uint8_t *p = take(m, width);

	*v = 0;
	for (int i = width; p && i-- > 0;)
		*v = *v << 8 | p[i];
	return p;
}

static bool take_text(struct machine *m, int width)
{
	uint64_t n;

	if (!take_number(m, width, &n))
		return false;
	m->text = (const char *)take(m, n);
	m->length = n;
	return m->text;
}

static bool take_line(struct machine *m)
{
	const uint8_t *end = memchr(m->at, '\n', m->end - m->at);

	if (!end)
		return false;
	m->text = (const char *)m->at;
	m->length = end - m->at;
	m->at = end + 1;
	return true;
}

static bool take_operand(struct machine *m, const struct operation *op)
{
	uint64_t n = op->n;
	bool good = op->form == NOTHING || (op->form == NUMBER && take_number(m, op->width, &n)) ||
		    (op->form == TEXT && take_text(m, op->width)) || (op->form == LINES && take_line(m) && take_line(m)) ||
		    (op->form == SKIP && take(m, op->width));

	m->n = (int64_t)n;
	return good;
}

/* Finds what an operation takes from the stack. */
static int take_values(struct machine *m, int takes)
{
	m->from = m->stack.count;
	while (m->from > 0 && m->stack.v[m->from - 1] != MARK && (takes == MARKED || m->stack.count - m->from < takes))
		m->from--;
	m->below = m->from - (takes == MARKED);
	if (m->below < 0 || m->stack.count - m->from < takes)
		return refuse(m, "takes from an empty stack");
	return 0;
}

static int step(struct machine *m)
{
	const uint8_t *code = take(m, 1);
	const struct operation *op = code ? &operations[*code] : NULL;

	if (op && !op->run)
		return fail("unable to read '%s': its pickle has an operation %d that torch.save does not write", m->path, *code);
	if (!op || !take_operand(m, op))
		return refuse(m, "ends early");
	return take_values(m, op->takes) < 0 ? -1 : op->run(m);
}

int pickle_read(struct pickle *p, const char *path, const void *data, size_t size)
{
	struct machine m = { .path = path, .at = data, .end = (const uint8_t *)data + size, .p = p };
	int r = 0;

	memset(p, 0, sizeof(*p));
	if (size > PICKLE_MOST)
		return refuse(&m, "is larger than 16 MB");
	while (r == 0 && !m.done)
		r = step(&m);
	free(m.stack.v);
	free(m.memo.v);
	if (r < 0)
		pickle_release(p);
	return r;
}

void pickle_release(struct pickle *p)
{
	free(p->values);
	free(p->links);
	memset(p, 0, sizeof(*p));
}

int pickle_item(const struct pickle *p, int value, int n)
{
	int i = value < 0 ? -1 : p->values[value].first;

	while (i >= 0 && n-- > 0)
		i = p->links[i].next;
	return i < 0 ? -1 : p->links[i].value;
}

bool pickle_text_is(const struct pickle_value *v, const char *text)
{
	return (v->kind == PICKLE_TEXT || v->kind == PICKLE_NAME) && v->length == strlen(text) && memcmp(v->text, text,
													 v->length) == 0;
}
