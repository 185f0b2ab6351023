/*
 * huffman - reads the Huffman codes of JPEGs and does nothing else: the bound of every program that gives their exact pixels
 *
 *	huffman mocov2 photos.tar
 *
 * Codes can only be read one after another, so each picture is read from its first row to the last one that the two views need
 * which the recipe draws for it, by libjpeg-turbo, which throws the coefficients away at once. Files are in memory before. A JSON
 * line every half second: images_s, and mb_s, bytes of whole files that these were.
 */
#include "lib/base/progress.h"
#include "lib/image/dataset.h"
#include "lib/image/recipe.h"

#include <jpeglib.h>

enum { VIEWS = 2 };

struct file {
	uint8_t *data;
	size_t size;
};

static struct file *load(struct dataset *d)
{
	struct file *files = xcalloc(d->count, sizeof(*files));
	struct bytes scratch = BYTES_INIT;

	for (int i = 0; i < d->count; i++) {
		struct blob b;

		if (dataset_load(d, i, &scratch, &b) < 0 || b.kind != BLOB_FILE || b.size < 2 || b.data[0] != 0xff ||
		    b.data[1] != 0xd8)
			die(EXIT_FAIL, "'%s' is no JPEG", dataset_name(d, i));
		files[i] = (struct file){ xmalloc(b.size), b.size };
		memcpy(files[i].data, b.data, b.size);
	}
	bytes_release(&scratch);
	return files;
}

/* How many rows the views of a w x h picture reach down to. */
static int rows_needed(const struct choice *c, uint32_t epoch, int sample, int w, int h)
{
	const struct recipe *r = recipe_of(c);
	int rows = 1;

	for (int v = 0; v < VIEWS; v++) {
		struct view_spec spec = { r->size, recipe_law(c, v) };
		struct draw d = recipe_draw(&spec, 0, epoch, (uint32_t)sample, v, w, h);

		rows = MAX(rows, d.crop.y + d.crop.h);
	}
	return rows;
}

/* Without smooth upsampling libjpeg-turbo skips whole rows of blocks by their codes alone. */
static void read_codes(const struct choice *c, uint32_t epoch, int sample, const struct file *f)
{
	struct jpeg_decompress_struct j;
	struct jpeg_error_mgr errors;
	int rows, block;

	j.err = jpeg_std_error(&errors);
	jpeg_create_decompress(&j);
	jpeg_mem_src(&j, f->data, f->size);
	jpeg_read_header(&j, TRUE);
	j.do_fancy_upsampling = FALSE;
	if (j.num_components == 4)
		j.out_color_space = JCS_CMYK;
	jpeg_start_decompress(&j);
	block = j.max_v_samp_factor * DCTSIZE;
	rows = rows_needed(c, epoch, sample, (int)j.image_width, (int)j.image_height);
	rows = MIN((rows + block - 1) / block * block, (int)j.image_height - 1);
	jpeg_skip_scanlines(&j, (JDIMENSION)rows);
	jpeg_destroy_decompress(&j);
}

static void run(const struct choice *c, const struct file *files, int count)
{
	double since = now(), bytes = 0;
	int64_t done = 0;

	for (uint32_t epoch = 0;; epoch++)
		for (int i = 0; i < count; i++) {
			double seconds;

			read_codes(c, epoch, i, &files[i]);
			bytes += (double)files[i].size;
			done++;
			seconds = now() - since;
			if (seconds < 0.5)
				continue;
			printf("{\"images_s\": %.2f, \"mb_s\": %.2f}\n", (double)done / seconds, bytes / seconds / 1e6);
			fflush(stdout);
			since = now();
			bytes = 0;
			done = 0;
		}
}

int main(int argc, char **argv)
{
	struct choice c;
	struct dataset *d;

	argv0 = "huffman";
	if (argc != 3)
		die(EXIT_USAGE, "usage: huffman RECIPE DATA");
	if (choice_parse(&c, &recipe_table, argv[1]) < 0 || !(d = dataset_open(&argv[2], 1, false)))
		die(why_code(), "%s", why());
	run(&c, load(d), d->count);
	return 0;
}
