/* kernels.c - which set of loops runs here; kernels_*.c are compiled once for each (lib/base/isa.h) */
#include "lib/image/kernels.h"

#include "lib/base/isa.h"

extern const struct pixel_kernels pixel_kernels_base;
#ifdef ISA_X86
extern const struct pixel_kernels pixel_kernels_avx2, pixel_kernels_avx512;
#endif

static const struct pixel_kernels *const sets[] = {
	&pixel_kernels_base,
#ifdef ISA_X86
	&pixel_kernels_avx2,
	&pixel_kernels_avx512,
#endif
};

const struct pixel_kernels *pixel_kernels(void)
{
	return ISA_ROW(sets);
}
