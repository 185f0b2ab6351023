/* tiles_none.c - what stands in for tiles.c and tiles_pack.c on processors that cannot have AMX: a refusal */
#include "lib/nn/tiles.h"

#ifndef ISA_X86
/* Nobody comes here, since isa() says no. */
static void nowhere(void)
{
	bug("AMX is not there");
}

struct tiles_room *tiles_open(void)
{
	return NULL;
}

void tiles_close(struct tiles_room *r)
{
	(void)r;
}

void *tiles_lend(struct tiles_room *r, enum tiles_part part, size_t bytes)
{
	(void)r, (void)part, (void)bytes;
	nowhere();
	return NULL;
}

void tiles_pack(char *to, int64_t column_bytes, const struct tiles_source *s, int k, int n, int from, int end)
{
	(void)to, (void)column_bytes, (void)s, (void)k, (void)n, (void)from, (void)end;
	nowhere();
}

void tiles_turn(char *to, int64_t pitch, const void *from, int64_t ld, int m, int k)
{
	(void)to, (void)pitch, (void)from, (void)ld, (void)m, (void)k;
	nowhere();
}

void tiles_pad(char *to, const void *from, int64_t ld, int m, int k)
{
	(void)to, (void)from, (void)ld, (void)m, (void)k;
	nowhere();
}

void tiles_run(const struct tiles_work *w)
{
	(void)w;
	nowhere();
}

void tiles_multiply(struct tiles_room *r, const struct product *p)
{
	(void)r, (void)p;
	nowhere();
}
#endif
