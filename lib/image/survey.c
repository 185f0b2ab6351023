#include "lib/image/survey.h"

#include <omp.h>

#include "lib/image/worker.h"

/* Short sides are counted by their power of two: below 16, 16-31, ..., from 4096 on. */
enum { FIRST_SIDE = 16, SIDES = 10 };

struct survey {
	int side[SIDES];
	char **why;             /* by sample; NULL: readable */
	int bad;
};

static int side_row(int side)
{
	int row = 0;

	for (int limit = FIRST_SIDE; row < SIDES - 1 && side >= limit; limit *= 2)
		row++;
	return row;
}

static void look(const struct dataset *d, bool exif, struct survey *s)
{
#pragma omp parallel
	{
		struct worker w;

		worker_init(&w, exif, 0);
#pragma omp for schedule(dynamic, 16)
		for (int i = 0; i < d->count; i++) {
			bool good = worker_read(&w, d, i) == 0;

			if (!good)
				s->why[i] = xstrdup(why());
#pragma omp atomic
			s->side[side_row(MIN(w.picture.w, w.picture.h))] += good;
#pragma omp atomic
			s->bad += !good;
		}
		worker_release(&w);
	}
}

/* Words end at tabs and lines at newlines, so a name has neither. */
static void print_word(FILE *to, const char *text)
{
	for (; *text; text++)
		fputc((unsigned char)*text < ' ' ? '?' : *text, to);
}

static void print_class(const struct dataset *d, int c, const int counts[2], FILE *to)
{
	fputs("class\t", to);
	print_word(to, c < d->class_count ? d->classes[c] : "-");
	fprintf(to, "\t%d\t%d\n", counts[SPLIT_TRAIN], counts[SPLIT_TEST]);
}

/* Numbered classes may leave large gaps. */
static void print_absent(const struct dataset *d, int first, int end, FILE *to)
{
	fputs("absent\t", to);
	print_word(to, d->classes[first]);
	fputc('\t', to);
	print_word(to, d->classes[end - 1]);
	fprintf(to, "\t%d\n", end - first);
}

static void print_classes(const struct dataset *d, FILE *to)
{
	int (*counts)[2] = xcalloc(d->class_count + 1, sizeof(*counts)), occur = 0, end;

	for (int i = 0; i < d->count; i++)
		counts[d->samples[i].label < 0 ? d->class_count : d->samples[i].label][d->samples[i].split]++;
	for (int c = 0; c < d->class_count; c++)
		occur += counts[c][0] + counts[c][1] > 0;
	fprintf(to, "classes\t%d\n", occur);
	for (int c = 0; c <= d->class_count; c = end) {
		for (end = c; end < d->class_count && counts[end][0] + counts[end][1] == 0; end++)
			;
		if (end > c) {
			print_absent(d, c, end, to);
			continue;
		}
		if (c < d->class_count || counts[c][0] + counts[c][1])
			print_class(d, c, counts[c], to);
		end++;
	}
	free(counts);
}

static void print_sides(const struct survey *s, FILE *to)
{
	for (int i = 0; i < SIDES; i++) {
		int from = i ? FIRST_SIDE << (i - 1) : 1;

		if (s->side[i] && i < SIDES - 1)
			fprintf(to, "side\t%d-%d\t%d\n", from, (FIRST_SIDE << i) - 1, s->side[i]);
		else if (s->side[i])
			fprintf(to, "side\t%d-\t%d\n", from, s->side[i]);
	}
}

int survey_print(const struct dataset *d, bool exif, FILE *to)
{
	struct survey s = { .why = xcalloc(d->count, sizeof(*s.why)) };
	uint64_t bytes = 0;

	look(d, exif, &s);
	for (int i = 0; i < d->count; i++)
		bytes += d->samples[i].size;
	fprintf(to, "images\t%d\nbytes\t%llu\ntrain\t%d\ntest\t%d\n", d->count, (unsigned long long)bytes,
		dataset_split_count(d, SPLIT_TRAIN), dataset_split_count(d, SPLIT_TEST));
	print_classes(d, to);
	print_sides(&s, to);
	fprintf(to, "bad\t%d\n", s.bad);
	for (int i = 0; i < d->count; i++) {
		if (s.why[i]) {
			fputs("unreadable\t", to);
			print_word(to, dataset_name(d, i));
			fprintf(to, "\t%s\n", s.why[i]);
		}
		free(s.why[i]);
	}
	free(s.why);
	return fflush(to) == 0 && !ferror(to) ? 0 : fail("unable to write to stdout:");
}
