#include "lib/probe/repulsion.h"
#include "lib/base/isa.h"

#include <math.h>

enum { LEAF = 16, LEVELS = 16, CHILDREN = 4, STACK = LEVELS * CHILDREN, PAD = 16 };

/* Points first .. end-1 of the curve. */
struct node {
	float x, y, side;              /* mean of its points; of its square */
	int32_t first, end;
	int32_t child, children;       /* they follow each other; 0: a leaf */
};

struct point {
	uint32_t code;                 /* place on the curve */
	int32_t at;                    /* in y */
};

struct repulsion {
	int64_t n;
	struct point *point, *other;   /* sorted; room to sort */
	float *x, *y;                  /* (n), along the curve */
	struct node *node;             /* (2 n); the root is the first one */
	int32_t nodes;
	int32_t *leaf;                 /* numbers of nodes */
	double *sum;                   /* of each leaf's q */
	int32_t leaves;
	float width;                   /* of the root's square */
};

struct repulsion *repulsion_new(int64_t n)
{
	struct repulsion *r = xcalloc(1, sizeof(*r));

	r->n = n;
	r->point = xcalloc(n, sizeof(*r->point));
	r->other = xcalloc(n, sizeof(*r->other));
	r->x = xaligned(n * sizeof(float));
	r->y = xaligned(n * sizeof(float));
	r->node = xcalloc(2 * n + 1, sizeof(*r->node));
	r->leaf = xcalloc(n, sizeof(*r->leaf));
	r->sum = xcalloc(n, sizeof(*r->sum));
	return r;
}

void repulsion_free(struct repulsion *r)
{
	free(r->point);
	free(r->other);
	free(r->x);
	free(r->y);
	free(r->node);
	free(r->leaf);
	free(r->sum);
	free(r);
}

/* --- the curve --- */

/* Bits of 16 with a gap before each. */
static uint32_t spread(uint32_t v)
{
	v = (v | v << 8) & 0x00ff00ff;
	v = (v | v << 4) & 0x0f0f0f0f;
	v = (v | v << 2) & 0x33333333;
	return (v | v << 1) & 0x55555555;
}

static void measure(const float *v, int64_t n, float *least, float *most)
{
	*least = *most = v[0];
	for (int64_t i = 1; i < n; i++) {
		*least = MIN(*least, v[i]);
		*most = MAX(*most, v[i]);
	}
}

static void sort_points(struct repulsion *r)
{
	for (int shift = 0; shift < 32; shift += 8) {
		int64_t place[257] = { 0 };
		struct point *t = r->point;

		for (int64_t i = 0; i < r->n; i++)
			place[(t[i].code >> shift & 255) + 1]++;
		for (int b = 0; b < 256; b++)
			place[b + 1] += place[b];
		for (int64_t i = 0; i < r->n; i++)
			r->other[place[t[i].code >> shift & 255]++] = t[i];
		r->point = r->other;
		r->other = t;
	}
}

static void line_up(struct repulsion *r, const float *y)
{
	float x0, x1, y0, y1, scale;

	measure(y, r->n, &x0, &x1);
	measure(y + r->n, r->n, &y0, &y1);
	r->width = MAX(MAX(x1 - x0, y1 - y0), 1e-30f);
	scale = (float)((1 << LEVELS) - 1) / r->width;
	for (int64_t i = 0; i < r->n; i++)
		r->point[i] = (struct point){ spread((uint32_t)((y[i] - x0) * scale)) |
						      spread((uint32_t)((y[r->n + i] - y0) * scale)) << 1,
					      (int32_t)i };
	sort_points(r);
	for (int64_t i = 0; i < r->n; i++) {
		r->x[i] = y[r->point[i].at];
		r->y[i] = y[r->n + r->point[i].at];
	}
}

/* --- the tree --- */

static void fill_leaf(struct repulsion *r, struct node *node)
{
	double x = 0, y = 0;

	for (int32_t i = node->first; i < node->end; i++) {
		x += r->x[i];
		y += r->y[i];
	}
	node->x = (float)(x / (node->end - node->first));
	node->y = (float)(y / (node->end - node->first));
	r->leaf[r->leaves++] = (int32_t)(node - r->node);
}

static void fill(struct repulsion *r, struct node *node);

/* Squares that hold all of the node's points are passed over: level is the first that tells them apart. */
static void split(struct repulsion *r, struct node *node, int level)
{
	int shift = 2 * (LEVELS - 1 - level);
	int32_t first = node->first;
	double x = 0, y = 0;

	node->child = r->nodes;
	for (uint32_t q = 0; q < CHILDREN; q++) {
		int32_t end = first;

		while (end < node->end && (r->point[end].code >> shift & 3) == q)
			end++;
		if (end > first)
			r->node[r->nodes++] = (struct node){ .first = first, .end = end };
		first = end;
	}
	node->children = r->nodes - node->child;
	for (int32_t c = node->child; c < node->child + node->children; c++) {
		struct node *child = &r->node[c];

		fill(r, child);
		x += (double)child->x * (child->end - child->first);
		y += (double)child->y * (child->end - child->first);
	}
	node->x = (float)(x / (node->end - node->first));
	node->y = (float)(y / (node->end - node->first));
}

static void fill(struct repulsion *r, struct node *node)
{
	uint32_t apart = r->point[node->first].code ^ r->point[node->end - 1].code;
	int level = apart ? __builtin_clz(apart) / 2 : LEVELS;

	node->side = ldexpf(r->width, -level);
	if (node->end - node->first <= LEAF || level == LEVELS)
		fill_leaf(r, node);
	else
		split(r, node, level);
}

/* --- the walk --- */

struct list {
	float *x, *y, *weight;
	int count;
};

struct box {
	float x0, x1, y0, y1;
};

static void add(struct list *l, float x, float y, float weight)
{
	l->x[l->count] = x;
	l->y[l->count] = y;
	l->weight[l->count++] = weight;
}

/* Everything that is to be seen from the box, nearby points one by one. */
static void look_around(const struct repulsion *r, const struct box *b, float theta, struct list *l)
{
	int32_t stack[STACK];
	int top = 0;

	l->count = 0;
	stack[top++] = 0;
	while (top > 0) {
		const struct node *node = &r->node[stack[--top]];
		float dx = MAX(MAX(b->x0 - node->x, node->x - b->x1), 0), dy = MAX(MAX(b->y0 - node->y, node->y - b->y1), 0);

		if (node->side * node->side < theta * theta * (dx * dx + dy * dy)) {
			add(l, node->x, node->y, (float)(node->end - node->first));
			continue;
		}
		for (int32_t i = node->first; node->children == 0 && i < node->end; i++)
			add(l, r->x[i], r->y[i], 1);
		for (int32_t c = 0; c < node->children; c++)
			stack[top++] = node->child + c;
	}
}

struct push {
	float x, y, sum;
};

static inline __attribute__((always_inline)) struct push push_body(const struct list *l, float x0, float y0)
{
	const float *x = l->x, *y = l->y, *weight = l->weight;
	float fx = 0, fy = 0, sum = 0;

#pragma omp simd reduction(+ : fx, fy, sum)
	for (int j = 0; j < l->count; j++) {
		float dx = x0 - x[j], dy = y0 - y[j], q = 1 / (1 + dx * dx + dy * dy), wq = weight[j] * q;

		sum += wq;
		fx += wq * q * dx;
		fy += wq * q * dy;
	}
	return (struct push){ fx, fy, sum };
}

#define WIDTH(suffix, target)                                                                   \
	target static struct push push_##suffix(const struct list *l, float x0, float y0) \
	{                                                                                       \
		return push_body(l, x0, y0);                                                    \
	}
WIDTH(plain, )
WIDTH(avx2, WIDE_AVX2)
WIDTH(avx512, WIDE_AVX512)

static struct push (*const pushes[])(const struct list *, float, float) = {
	[ISA_PLAIN] = push_plain,
	[ISA_AVX2] = push_avx2,
	[ISA_AVX512] = push_avx512,
};

/* A point is in its own list, with a q of 1 and no force. */
static double push_leaf(const struct repulsion *r, const struct node *leaf, float theta, struct list *l, float *force)
{
	struct box b;
	double sum = 0;

	measure(r->x + leaf->first, leaf->end - leaf->first, &b.x0, &b.x1);
	measure(r->y + leaf->first, leaf->end - leaf->first, &b.y0, &b.y1);
	look_around(r, &b, theta, l);
	for (int32_t i = leaf->first; i < leaf->end; i++) {
		struct push p = ISA_ROW(pushes)(l, r->x[i], r->y[i]);

		force[r->point[i].at] = p.x;
		force[r->n + r->point[i].at] = p.y;
		sum += (double)p.sum - 1;
	}
	return sum;
}

double repulsion_run(struct repulsion *r, const float *y, double theta, float *force)
{
	double sum = 0;

	line_up(r, y);
	r->leaves = 0;
	r->nodes = 1;
	r->node[0] = (struct node){ .first = 0, .end = (int32_t)r->n };
	fill(r, r->node);
#pragma omp parallel
	{
		float *room = xaligned(3 * (r->n + PAD) * sizeof(float));
		struct list l = { room, room + r->n + PAD, room + 2 * (r->n + PAD), 0 };

#pragma omp for schedule(dynamic, 8)
		for (int32_t i = 0; i < r->leaves; i++)
			r->sum[i] = push_leaf(r, &r->node[r->leaf[i]], (float)theta, &l, force);
		free(room);
	}
	for (int32_t i = 0; i < r->leaves; i++)
		sum += r->sum[i];
	return sum;
}
