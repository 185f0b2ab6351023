#include "lib/image/preview.h"

enum { GAP = 4, GROUP_GAP = 16, SIDE_MIN = 96, GROUPS_A_LINE = 4 };

/* A white sheet of cells; group g holds the original and the views of sample g. */
struct sheet {
	int side, scale, cells, groups, lines, w, h;   /* cell side in pixels, after enlarging by scale; cells a group */
	uint8_t *rgb;
};

static void sheet_init(struct sheet *s, int size, int views, int samples)
{
	int columns = MIN(GROUPS_A_LINE, samples), group;

	s->scale = (SIDE_MIN + size - 1) / size;
	s->side = size * s->scale;
	s->cells = views + 1;
	s->groups = columns;
	s->lines = (samples + columns - 1) / columns;
	group = s->cells * (s->side + GAP) - GAP;
	s->w = columns * (group + GROUP_GAP) + GROUP_GAP;
	s->h = s->lines * (s->side + GROUP_GAP) + GROUP_GAP;
	s->rgb = xmalloc((size_t)s->w * s->h * 3);
	memset(s->rgb, 255, (size_t)s->w * s->h * 3);
}

/* Puts (size, size, 3) pixels into a cell, each pixel scale x scale times. */
static void sheet_put(struct sheet *s, int sample, int cell, const uint8_t *rgb, int size)
{
	int group = s->cells * (s->side + GAP) - GAP, scale = s->side / size;
	int x0 = GROUP_GAP + sample % s->groups * (group + GROUP_GAP) + cell * (s->side + GAP);
	int y0 = GROUP_GAP + sample / s->groups * (s->side + GROUP_GAP);

	for (int y = 0; y < s->side; y++)
		for (int x = 0; x < s->side; x++)
			memcpy(s->rgb + ((size_t)(y0 + y) * s->w + x0 + x) * 3, rgb + ((size_t)(y / scale) * size + x / scale) * 3, 3);
}

/* One sample a step: its original and its views into the cells of group i. */
static int put_sample(struct maker *m, struct sheet *s, int i, const char *const *names, uint8_t *original)
{
	int views = (int)maker_facts(m)->views, size = (int)maker_facts(m)->size, r;
	struct tensor t[MAKER_VIEWS + 1];

	if (maker_make(m, i, 0, 1, names, views + 1, t) < 0)
		return -1;
	r = maker_original(m, (int)tensor_i64(&t[0])[0], s->side, original);
	sheet_put(s, i, 0, original, s->side);
	for (int v = 0; v < views; v++)
		sheet_put(s, i, v + 1, tensor_u8(&t[v + 1]), size);
	for (int k = 0; k <= views; k++)
		tensor_release(&t[k]);
	return r;
}

int preview_write(struct maker *m, const char *path, int samples)
{
	int views = (int)maker_facts(m)->views, r = 0;
	char text[MAKER_VIEWS][16];
	const char *names[MAKER_VIEWS + 1] = { "index" };
	struct sheet s;
	uint8_t *original;

	if (maker_facts(m)->batch != 1)
		bug("a preview of batches of %lld", (long long)maker_facts(m)->batch);
	for (int v = 0; v < views; v++) {
		snprintf(text[v], sizeof(text[v]), "view%d", v);
		names[v + 1] = text[v];
	}
	samples = (int)MIN(samples, maker_facts(m)->samples);
	sheet_init(&s, (int)maker_facts(m)->size, views, samples);
	original = xmalloc((size_t)s.side * s.side * 3);
	for (int i = 0; r == 0 && i < samples; i++)
		r = put_sample(m, &s, i, names, original);
	if (r == 0)
		r = png_write(path, s.rgb, s.w, s.h);
	free(original);
	free(s.rgb);
	return r;
}
