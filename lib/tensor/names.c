#include "lib/tensor/names.h"

#define MORE "augment --views N makes more views, --crops NxSIZE smaller ones"
#define OF_MORE ", of more views with augment --views N or --crops NxSIZE"

const struct name name_rows[NAMES] = {
	[NAME_VIEW] = { "view", REST_VIEW, GRADIENT_NEVER, WIDTH_OWN, "augment", MORE },
	[NAME_FEATURE] = { "feature", REST_VIEW, GRADIENT_MAY, WIDTH_FEATURE, "encode", "encode gives it" OF_MORE },
	[NAME_HEAD] = { "q", REST_VIEW, GRADIENT_MUST, WIDTH_HEAD, "encode",
			"encode --head gives it, with --eval or --frozen where the FILE of -w has a head" OF_MORE },
	[NAME_PREDICTOR] = { "p", REST_WORD_VIEW, GRADIENT_MUST, WIDTH_PREDICTOR, "encode",
			     "encode --predictor makes it, in training" },
	[NAME_KEY] = { "k", REST_VIEW, GRADIENT_NEVER, WIDTH_HEAD, "encode", "keys come from the trained encode, of its head" },
	[NAME_TEACHER] = { "t", REST_VIEW, GRADIENT_NEVER, WIDTH_HEAD, "encode --frozen --as t",
			   "a teacher 'encode --frozen --as t -w FILE' in front makes it, where the FILE has a head" },
	[NAME_TEACHER_FEATURE] = { "tfeature", REST_VIEW, GRADIENT_NEVER, WIDTH_FEATURE, "encode --frozen --as t",
				   "a teacher 'encode --frozen --as t -w FILE' in front makes it" },
	[NAME_TEACHER_PREDICTOR] = { "tp", REST_WORD_VIEW, GRADIENT_MAY, WIDTH_PREDICTOR, "encode --as t",
				     "a teacher that trains along, 'encode --as t --predictor P -o DIR' in front, makes it" },
	[NAME_TEACHER_KEY] = { "tk", REST_VIEW, GRADIENT_NEVER, WIDTH_HEAD, "encode --as t",
			       "a teacher that trains along, 'encode --as t -o DIR' in front, makes it; or 'encode --frozen --as "
			       "tk -w FILE', of its moving average's file" },
	[NAME_LABEL] = { "label", REST_NONE, GRADIENT_NEVER, WIDTH_OWN, "augment", "augment gives it" },
	[NAME_MIX] = { "mix", REST_NONE, GRADIENT_NEVER, WIDTH_OWN, "augment", "augment --mix makes it" },
	[NAME_INDEX] = { "index", REST_NONE, GRADIENT_NEVER, WIDTH_OWN, "augment", "augment gives it" },
	[NAME_SPLIT] = { "split", REST_NONE, GRADIENT_NEVER, WIDTH_OWN, "augment", "it belongs to augment --eval" },
	[NAME_IMAGE] = { "name", REST_NONE, GRADIENT_NEVER, WIDTH_OWN, "augment", "it belongs to augment --eval" },
};

bool name_number(const char *digits, int *view)
{
	int64_t number;

	if (*digits < '0' || *digits > '9' || (*digits == '0' && digits[1]))
		return false;
	if (parse_int(digits, &number) < 0 || number > INT32_MAX)
		return false;
	*view = (int)number;
	return true;
}

const struct name *name_find(const char *name, int *view)
{
	for (int i = 0; i < NAMES; i++) {
		const struct name *row = &name_rows[i];
		size_t n = strlen(row->prefix);
		int number = 0;

		if (strncmp(name, row->prefix, n) != 0)
			continue;
		if (row->rest == REST_WORD_VIEW)
			n += strspn(name + n, NAME_LETTERS);
		if (row->rest == REST_NONE ? name[n] != '\0' : !name_number(name + n, &number))
			continue;
		*view = number;
		return row;
	}
	return NULL;
}

bool name_is_trained(const char *name)
{
	int view;
	const struct name *n = name_find(name, &view);

	return n && n->gradient != GRADIENT_NEVER;
}

const char *name_remedy(const char *name)
{
	int view;
	const struct name *n = name_find(name, &view);

	return n ? n->remedy : "no stage in front makes it";
}
