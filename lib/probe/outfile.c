#include "lib/probe/outfile.h"

#include <sys/stat.h>
#include <unistd.h>

bool outfile_wanted(const char *path)
{
	return strcmp(path, OUTFILE_NONE) != 0;
}

int outfile_check(const char *path)
{
	const char *slash = strrchr(path, '/');
	int length = slash ? (int)(slash + 1 - path) : 1;
	char folder[4096];
	struct stat s;

	if (format(folder, sizeof(folder), "%.*s", length, slash ? path : ".") < 0 || access(folder, W_OK) < 0)
		return fail_code(EXIT_USAGE, "unable to write into '%s':", folder);
	if (stat(path, &s) == 0 && S_ISDIR(s.st_mode))
		return fail_code(EXIT_USAGE, "unable to write '%s': it is a folder", path);
	return 0;
}

void outfile_print(FILE *out, const char *key, const char *path)
{
	fprintf(out, ", \"%s\": \"", key);
	for (const char *s = path; *s; s++)
		fprintf(out, (unsigned char)*s < ' ' || *s == '"' || *s == '\\' ? "\\u%04x" : "%c", (unsigned char)*s);
	fputc('"', out);
}
