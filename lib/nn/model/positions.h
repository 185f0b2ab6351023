/*
 * positions.h - position embeddings laid out for one grid of patches, fitted to another
 *
 * As DeiT's fine-tuning code does it (Touvron et al. 2021, sec. 6; main.py): the class token's row stays, the others are
 * resized as a picture by PyTorch's bicubic interpolation (a = -0.75, pixels' centres aligned, borders repeated, no smoothing
 * when it shrinks).
 *
 *	positions_resize(from, 14, 14, to, 6, 6, 192);      from (1 + 14*14, 192), to (1 + 6*6, 192)
 */
#ifndef NN_POSITIONS_H
#define NN_POSITIONS_H

void positions_resize(const float *from, int h, int w, float *to, int to_h, int to_w, int c);
/* Its gradient: adds to d_from what d_to makes of it. */
void positions_resize_back(float *d_from, int h, int w, const float *d_to, int to_h, int to_w, int c);

#endif
