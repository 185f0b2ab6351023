/* amx_none.c - what stands in for amx*.c on processors that cannot have AMX: a refusal */
#include "lib/tensor/amx.h"

#ifndef ISA_X86
/* Nobody comes here, since isa() says no. */
static void nowhere(void)
{
	bug("AMX is not there");
}

struct amx_room *amx_open(void)
{
	return NULL;
}

void amx_close(struct amx_room *r)
{
	(void)r;
}

void *amx_lend(struct amx_room *r, enum amx_array array, size_t bytes)
{
	(void)r, (void)array, (void)bytes;
	nowhere();
	return NULL;
}

void amx_pack(char *to, int64_t panel_bytes, const struct amx_source *s, int k, int n, int from, int end)
{
	(void)to, (void)panel_bytes, (void)s, (void)k, (void)n, (void)from, (void)end;
	nowhere();
}

void amx_transpose(char *to, int64_t pitch, const void *from, int64_t ld, int m, int k)
{
	(void)to, (void)pitch, (void)from, (void)ld, (void)m, (void)k;
	nowhere();
}

void amx_pad(char *to, const void *from, int64_t ld, int m, int k)
{
	(void)to, (void)from, (void)ld, (void)m, (void)k;
	nowhere();
}

void amx_run(const struct amx_work *w)
{
	(void)w;
	nowhere();
}

void amx_multiply(struct amx_room *r, const struct product *p)
{
	(void)r, (void)p;
	nowhere();
}
#endif
