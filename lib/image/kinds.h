/*
 * kinds.h - which files are pictures, and what others are: by their names where they are passed over, else by their first bytes
 *
 *	int counts[FILE_KINDS] = { 0 };
 *	int k = kind_of_name("photos/IMG_0001.GIF");          -1: none of the table's, such as notes.txt
 *	if (k >= 0)
 *		counts[k]++;
 *	...
 *	char text[KINDS_TEXT];
 *	if (kinds_tell(text, counts))                         "1 GIF, 2 BMP (to be converted, as by: mogrify -format jpg *.bmp)"
 *		note("passed over %s", text);
 *
 * Texts and leftovers beside pictures (.txt, .json, Thumbs.db, ...) are none of the table's: nobody misses them.
 */
#ifndef IMAGE_KINDS_H
#define IMAGE_KINDS_H

#include "lib/base/base.h"

enum { FILE_KINDS = 16, KINDS_TEXT = 640 };

/* The row of the table that a file's path stands for, by its extension as a rule; -1: none. */
int kind_of_name(const char *path);
/* Whether it is a picture that is read: its extension says so. */
bool kind_is_picture(const char *path);
/* Whether it is a text or a leftover that belongs to pictures: not missed, and no picture. */
bool kind_is_side(const char *path);
/* What a file is, as its first bytes tell ("GIF", "a zip archive"); NULL: unknown. */
const char *kind_of_bytes(const uint8_t *data, size_t size);
/* Class files count for nothing where all pictures have classes otherwise. */
void kinds_forget_classes(int counts[FILE_KINDS]);
/* How many there are of which kind, and what to do about them; false: none. */
bool kinds_tell(char text[KINDS_TEXT], const int counts[FILE_KINDS]);

#endif
