/*
 * exif.h - which way up a picture is, as the camera noted it in the file: Pillow's ImageOps.exif_transpose
 *
 * Orientations are EXIF's: 1 as it lies, 2 mirrored, 3 upside down, 4 both, 5 to 8 the same with rows and columns exchanged.
 * "Raw" is the picture as it is stored, "upright" as it should be seen.
 *
 *	int o = exif_orientation(data, size);
 *	struct box raw = exif_raw_box(o, window, raw_w, raw_h);       what to decode for a window of the upright picture
 *	...
 *	exif_turn(o, &decoded, raw_w, raw_h, &upright);               turns the part that was decoded
 */
#ifndef IMAGE_EXIF_H
#define IMAGE_EXIF_H

#include "lib/image/picture.h"

/* The EXIF orientation that a JPEG's APP1, a WebP's EXIF chunk, or a PNG's eXIf chunk or texts (ImageMagick's hexadecimal EXIF,
 * Adobe's XMP) say; 1 when none does, and for other formats, which are turned as they say themselves (codec.h). */
int exif_orientation(const uint8_t *data, size_t size);
/* Whether the upright picture is as wide as the raw one is high. */
static inline bool exif_swaps(int orientation)
{
	return orientation >= 5;
}
struct box exif_raw_box(int orientation, struct box upright, int raw_w, int raw_h);
void exif_turn(int orientation, const struct picture *raw, int raw_w, int raw_h, struct picture *upright);

#endif
