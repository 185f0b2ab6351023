#include "lib/stream/ticket.h"

void ticket_print(const struct ticket *t, char dst[TICKET_MAX])
{
	int n;

	if (!t->stage[0]) {
		snprintf(dst, TICKET_MAX, "sprat1 fault %d %s\n", t->code, t->sentence);
		return;
	}
	n = snprintf(dst, TICKET_MAX, "sprat1 %s %s", t->stage, t->endpoint);
	if (t->curve[0])
		n += snprintf(dst + n, TICKET_MAX - n, " curve=%s", t->curve);
	if (t->parts > 1)
		n += snprintf(dst + n, TICKET_MAX - n, " part=%d/%d", t->part, t->parts);
	snprintf(dst + n, TICKET_MAX - n, "\n");
}

static int no_ticket(const char *line)
{
	return fail_code(EXIT_USAGE,
			 "'%.60s' is no ticket: pipe a stage such as 'augment DATA |' in front, or give --from TICKET", line);
}

static int parse_fault(struct ticket *t, const char *line)
{
	const char *text = line + strlen("sprat1 fault ");
	int n = 0;

	if (sscanf(text, "%d %n", &t->code, &n) != 1 || n == 0 || t->code < 1 || t->code > 255)
		return no_ticket(line);
	snprintf(t->sentence, sizeof(t->sentence), "%s", text + n);
	return 0;
}

static int parse_extra(struct ticket *t, const char *word)
{
	char end;

	if (strncmp(word, "curve=", 6) == 0 && strlen(word + 6) == 40) {
		strcpy(t->curve, word + 6);
		return 0;
	}
	if (sscanf(word, "part=%d/%d%c", &t->part, &t->parts, &end) == 2 && t->parts >= 1 && t->part >= 0 && t->part < t->parts)
		return 0;
	return -1;
}

int ticket_parse(struct ticket *t, const char *line)
{
	char copy[TICKET_MAX], *word, *rest = copy;

	memset(t, 0, sizeof(*t));
	t->parts = 1;
	if (format(copy, sizeof(copy), "%s", line) < 0 || strncmp(copy, "sprat1 ", 7) != 0)
		return no_ticket(line);
	rest += 7;
	if (strncmp(rest, "fault ", 6) == 0)
		return parse_fault(t, line);
	word = strsep(&rest, " ");
	if (!*word || !rest || format(t->stage, sizeof(t->stage), "%s", word) < 0)
		return no_ticket(line);
	word = strsep(&rest, " ");
	if (!strstr(word, "://") || format(t->endpoint, sizeof(t->endpoint), "%s", word) < 0)
		return no_ticket(line);
	while ((word = strsep(&rest, " ")))
		if (parse_extra(t, word) < 0)
			return no_ticket(line);
	return 0;
}
