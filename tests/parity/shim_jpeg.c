/* shim_jpeg.c - JPEGs of kinds that Pillow cannot write, for tests: any sampling, YCCK, arithmetic coding, restart markers */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jpeglib.h>

long make_jpeg(const uint8_t *pixels, int w, int h, int channels, const int sampling[8], const int how[5], uint8_t *out,
	       size_t room);

/* sampling: across, down, of each channel; how: quality, progressive, restart interval in rows, arithmetic, YCCK. Its size. */
long make_jpeg(const uint8_t *pixels, int w, int h, int channels, const int sampling[8], const int how[5], uint8_t *out,
	       size_t room)
{
	struct jpeg_compress_struct c;
	struct jpeg_error_mgr errors;
	unsigned char *data = NULL;
	unsigned long size = 0;

	c.err = jpeg_std_error(&errors);
	jpeg_create_compress(&c);
	jpeg_mem_dest(&c, &data, &size);
	c.image_width = (JDIMENSION)w;
	c.image_height = (JDIMENSION)h;
	c.input_components = channels;
	c.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 4 ? JCS_CMYK : JCS_RGB;
	jpeg_set_defaults(&c);
	if (how[4])
		jpeg_set_colorspace(&c, channels == 4 ? JCS_YCCK : JCS_RGB);
	jpeg_set_quality(&c, how[0], TRUE);
	for (int i = 0; i < channels; i++) {
		c.comp_info[i].h_samp_factor = sampling[2 * i];
		c.comp_info[i].v_samp_factor = sampling[2 * i + 1];
	}
	if (how[1])
		jpeg_simple_progression(&c);
	c.restart_in_rows = how[2];
	c.arith_code = how[3] != 0;
	jpeg_start_compress(&c, TRUE);
	while (c.next_scanline < c.image_height) {
		JSAMPROW row = (JSAMPROW)(pixels + (size_t)c.next_scanline * w * channels);

		jpeg_write_scanlines(&c, &row, 1);
	}
	jpeg_finish_compress(&c);
	jpeg_destroy_compress(&c);
	if (size <= room)
		memcpy(out, data, size);
	free(data);
	return size <= room ? (long)size : -1;
}
