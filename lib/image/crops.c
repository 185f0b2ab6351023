#include "lib/image/crops.h"

/* The scale is SwAV's; pairs are of views of full size. */
static const char crops_law[] = "scale=0.05-0.14,iou=0,mix=1,drop=0";

/* Reads "NxSIZE", cutting it at the x. */
static int parse_count(struct crops *c, char *text)
{
	char *x = strchr(text, 'x');
	int64_t size;

	if (!x)
		return -1;
	*x = '\0';
	if (parse_int(text, &c->count) < 0 || c->count < 1)
		return -1;
	if (parse_int(x + 1, &size) < 0 || size < 1 || size > VIEW_SIZE_MOST)
		return -1;
	c->spec.size = (int)size;
	return 0;
}

static int change_recipe(struct choice *changed, const char *text, const char *changes)
{
	char reason[512];

	if (choice_change(changed, &recipe_table, crops_law) < 0)
		bug("%s", why());
	if (choice_change(changed, &recipe_table, changes) == 0)
		return 0;
	format(reason, sizeof(reason), "%s", why());
	return fail_code(EXIT_USAGE, "unable to make crops '%s': %s", text, reason);
}

int crops_parse(struct crops *c, const char *text, const struct choice *recipe)
{
	struct choice changed = *recipe;
	char copy[256], spelled[256], *changes;

	*c = (struct crops){ 0 };
	if (!*text)
		return 0;
	if (recipe_of(recipe)->frame == FRAME_CENTRE)
		return fail_code(EXIT_USAGE,
				 "unable to make crops by the recipe '%s', which draws nothing: choose another --recipe",
				 recipe->entry->name);
	snprintf(copy, sizeof(copy), "%s", text);
	changes = copy + strcspn(copy, ":");
	if (*changes)
		*changes++ = '\0';
	if (strlen(text) >= sizeof(copy) || parse_count(c, copy) < 0)
		return fail_code(EXIT_USAGE,
				 "--crops '%.80s' is not NxSIZE[:key=value,...] with N from 1 and SIZE from 1 to %d: try 6x96 or "
				 "6x96:scale=.05-.14", text, VIEW_SIZE_MOST);
	if (change_recipe(&changed, text, changes) < 0)
		return -1;
	c->spec.law = recipe_law(&changed, 0);
	if (recipe_pairs(&c->spec.law))
		return fail_code(EXIT_USAGE,
				 "unable to make crops '%s': iou and drop are of two views of full size, give them to --recipe",
				 text);
	choice_spell(&changed, spelled, sizeof(spelled));
	format(c->spelling, sizeof(c->spelling), "%lldx%d%s", (long long)c->count, c->spec.size, strchr(spelled, ':'));
	return 0;
}
