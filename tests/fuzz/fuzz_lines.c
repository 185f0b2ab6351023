/* fuzz_lines.c - libFuzzer on the texts that name samples: a table of classes, a list to hold out */
#include "tests/fuzz/fuzz_dataset.h"

/* Four pictures of one pixel, called train/000000 to train/000003. */
static const uint8_t idx[] = { 0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 1, 10, 20, 30, 40 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char images[128];
	const char *text;
	char *paths[] = { images };

	if (!*images)
		snprintf(images, sizeof(images), "%s", put_file(2, idx, sizeof(idx)));
	text = put_file(3, data, size);
	for (int way = 0; way < 2; way++) {
		struct dataset *d = dataset_open(paths, 1, false);

		if (!d)
			abort();
		if (way == 0)
			dataset_label(d, text);
		else
			dataset_holdout(d, text);
		dataset_free(d);
	}
	return 0;
}
