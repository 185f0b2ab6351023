#include "lib/image/pixels_isa.h"

#define ROW(type, name, arguments) .name = ISA(pixels_##name),
extern const struct pixels ISA(pixels);
const struct pixels ISA(pixels) = { PIXELS(ROW) };
