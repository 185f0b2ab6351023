/* kernels_isa.h - the loops by the names they have in one instruction set; kernels_table.c puts them together */
#ifndef IMAGE_KERNELS_ISA_H
#define IMAGE_KERNELS_ISA_H

#include "lib/image/kernels.h"
#include "lib/image/lanes.h"

void ISA(pixel_split)(const uint8_t *, int, uint8_t *const[3]);
void ISA(pixel_join)(const uint8_t *const[3], int, bool, uint8_t *);
void ISA(pixel_quads)(const struct quads *, int, const uint8_t *const[3], uint8_t *const[3]);
void ISA(pixel_columns)(const struct axis *, int, const uint8_t *const[3], uint8_t *const[3]);
void ISA(pixel_rows)(const uint8_t *, size_t, int, int, const int32_t *, uint8_t *);
void ISA(pixel_blend)(uint8_t *, size_t, int, float);
void ISA(pixel_saturate)(uint8_t *, uint8_t *, uint8_t *, size_t, float);
void ISA(pixel_grey)(uint8_t *, uint8_t *, uint8_t *, size_t);
void ISA(pixel_hue)(uint8_t *, uint8_t *, uint8_t *, size_t, int);
uint64_t ISA(pixel_luma_sum)(const uint8_t *, const uint8_t *, const uint8_t *, size_t);
void ISA(pixel_box)(const uint8_t *const *, int, uint32_t, uint32_t, int, uint8_t *);

#endif
