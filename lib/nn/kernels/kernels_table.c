#include "lib/nn/kernels/kernels_isa.h"

#define TYPED_ROW(type, name, arguments) .name = TYPED(name),
#define FLAT_ROW(type, name, arguments) .name = ISA(name),
extern const struct kernels TYPED(kernels);
const struct kernels TYPED(kernels) = { KERNELS(TYPED_ROW, FLAT_ROW) };
