/* pixels.c - which set of loops runs here; pixels_*.c are compiled once for each (lib/base/isa.h) */
#include "lib/image/pixels.h"

#include "lib/base/isa.h"

extern const struct pixels pixels_base;
#ifdef ISA_X86
extern const struct pixels pixels_avx2, pixels_avx512;
#endif

static const struct pixels *const sets[] = {
	&pixels_base,
#ifdef ISA_X86
	&pixels_avx2,
	&pixels_avx512,
#endif
};

const struct pixels *pixels_find(void)
{
	return ISA_ROW(sets);
}
