#include "lib/image/picture.h"

enum { ROOM_KEPT = 8 << 20 };

struct box box_union(struct box a, struct box b)
{
	struct box u = { MIN(a.x, b.x), MIN(a.y, b.y), 0, 0 };

	if (a.w <= 0 || a.h <= 0)
		return b;
	if (b.w <= 0 || b.h <= 0)
		return a;
	u.w = MAX(a.x + a.w, b.x + b.w) - u.x;
	u.h = MAX(a.y + a.h, b.y + b.h) - u.y;
	return u;
}

/* The memory of a rare giant is given back when the next picture is much smaller. */
void picture_shape(struct picture *p, struct box part)
{
	size_t need = (size_t)part.w * part.h * 3;
	bool giant = p->room > ROOM_KEPT && need < p->room / 4;

	if (need > p->room || giant) {
		free(p->rgb);
		p->rgb = xaligned(need);
		p->room = need;
	}
	p->x = part.x;
	p->y = part.y;
	p->w = part.w;
	p->h = part.h;
}

void picture_release(struct picture *p)
{
	free(p->rgb);
	*p = (struct picture)PICTURE_INIT;
}

int picture_check_size(int64_t w, int64_t h)
{
	if (w < 1 || h < 1)
		return fail("it has no pixels");
	if (w * h > PICTURE_PIXELS)
		return fail("it claims %lld x %lld pixels, more than the limit of %d million", (long long)w, (long long)h,
			    PICTURE_PIXELS >> 20);
	return 0;
}
