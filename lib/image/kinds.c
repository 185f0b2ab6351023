#include "lib/image/kinds.h"

/* What to do about a kind; each is said once, behind the kinds that it is for. %s: the most frequent one's extension. */
enum advice { CONVERT, CUT, UNPACK, NAME, TABLE, FOLDER, BINARY, ADVICES };
static const char *const advices[ADVICES] = {
	"to be converted, as by: mogrify -format jpg *%s",
	"to be cut into pictures, as by: ffmpeg",
	"to be unpacked",
	"to be named one by one, as by: augment FOLDER/*%s",
	"read beside pictures in a tar only: make one, or give --labels",
	"to be unpacked, and their own folder to be named",
	"that is the Python version of CIFAR: take the binary version, cifar-10-binary.tar.gz or cifar-100-binary.tar.gz",
};

/* extensions: the first is the one that the advice names. */
static const struct kind {
	const char *name;
	enum advice advice;
	const char *extensions[10];
} kinds[] = {
	{ "GIF", CONVERT, { ".gif" } },
	{ "BMP", CONVERT, { ".bmp", ".dib" } },
	{ "JPEG 2000", CONVERT, { ".jp2", ".j2k", ".jpx" } },
	{ "JPEG XL", CONVERT, { ".jxl" } },
	{ "PNM", CONVERT, { ".ppm", ".pgm", ".pbm", ".pnm" } },
	{ "camera raw", CONVERT, { ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw" } },
	{ "Photoshop", CONVERT, { ".psd" } },
	{ "video", CUT, { ".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".3gp", ".mts", ".wmv" } },
	{ "archive", UNPACK, { ".zip", ".gz", ".tgz", ".xz", ".bz2", ".zst", ".7z", ".rar" } },
	{ "tar", NAME, { ".tar" } },
	{ "class file", TABLE, { ".cls" } },
	{ "CIFAR batch", FOLDER, { NULL } },
	{ "Python pickle", BINARY, { NULL } },
};
enum { CLASSES = ARRAY_SIZE(kinds) - 3, CIFAR, PYTHON };
_Static_assert(ARRAY_SIZE(kinds) <= FILE_KINDS, "FILE_KINDS is too small");

static const char *base_of(const char *path)
{
	return strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
}

static bool ends_in(const char *base, const char *const *extensions, size_t count)
{
	const char *dot = strrchr(base, '.');

	for (size_t i = 0; dot && i < count && extensions[i]; i++)
		if (strcasecmp(dot, extensions[i]) == 0)
			return true;
	return false;
}

/* Files of cifar-10-batches-py and cifar-100-python, and of the binary versions. */
static int batch_of_name(const char *path)
{
	const char *base = base_of(path), *dot = strrchr(base, '.');
	bool ten = strncmp(base, "data_batch_", 11) == 0 || strncmp(base, "test_batch", 10) == 0;
	bool hundred = strstr(path, "cifar-100-") && (strncmp(base, "train", 5) == 0 || strncmp(base, "test", 4) == 0);

	return !ten && !hundred ? -1 : !dot ? (int)PYTHON : strcmp(dot, ".bin") == 0 ? (int)CIFAR : -1;
}

int kind_of_name(const char *path)
{
	const char *base = base_of(path);

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (ends_in(base, kinds[i].extensions, ARRAY_SIZE(kinds[i].extensions)))
			return (int)i;
	return batch_of_name(path);
}

bool kind_is_picture(const char *path)
{
	static const char *const extensions[] = {
		".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".heic", ".heif", ".hif", ".avif", ".tif", ".tiff",
	};
	const char *dot = strrchr(path, '.');

	for (size_t i = 0; dot && i < ARRAY_SIZE(extensions); i++)
		if (strcasecmp(dot, extensions[i]) == 0)
			return true;
	return false;
}

bool kind_is_side(const char *path)
{
	static const char *const extensions[] = { ".txt", ".json", ".csv", ".tsv", ".xml", ".md", ".db", ".ini", ".DS_Store" };

	return ends_in(base_of(path), extensions, ARRAY_SIZE(extensions));
}

/* --- by their bytes --- */

static const struct {
	const char *name;
	size_t at, size;
	const char *bytes;
} magics[] = {
	{ "AVIF", 4, 7, "ftypavi" }, { "HEIC", 4, 7, "ftyphei" }, { "HEIC", 4, 7, "ftyphev" }, { "HEIC", 4, 8, "ftypmif1" },
	{ "HEIC", 4, 8, "ftypmsf1" }, { "camera raw", 4, 7, "ftypcrx" }, { "an MP4 or MOV video", 4, 4, "ftyp" },
	{ "GIF", 0, 4, "GIF8" }, { "BMP", 0, 2, "BM" },
	{ "TIFF or camera raw", 0, 4, "II*\0" }, { "TIFF or camera raw", 0, 4, "MM\0*" },
	{ "JPEG 2000", 0, 8, "\0\0\0\x0cjP  " }, { "JPEG XL", 0, 8, "\0\0\0\x0cJXL " }, { "JPEG XL", 0, 2, "\xff\x0a" },
	{ "PNM", 0, 3, "P5\n" }, { "PNM", 0, 3, "P6\n" }, { "Photoshop", 0, 4, "8BPS" }, { "PDF", 0, 5, "%PDF-" },
	{ "a zip archive", 0, 4, "PK\3\4" }, { "compressed", 0, 2, "\x1f\x8b" }, { "compressed", 0, 6, "\xfd" "7zXZ" },
	{ "an HTML page", 0, 9, "<!DOCTYPE" }, { "an HTML page", 0, 9, "<!doctype" }, { "an HTML page", 0, 5, "<html" },
	{ "XML or SVG", 0, 5, "<?xml" }, { "SVG", 0, 4, "<svg" },
	{ "a Git LFS pointer (try: git lfs pull)", 0, 23, "version https://git-lfs" },
	{ "an IDX file", 0, 3, "\0\0\x08" }, { "a NumPy array", 0, 6, "\x93NUMPY" },
};

/* A Python pickle of protocol 2 to 5 with a dictionary, as CIFAR's batches are. */
static bool is_python_dictionary(const uint8_t *data, size_t size)
{
	return size > 2 && data[0] == 0x80 && data[1] >= 2 && data[1] <= 5 && (data[2] == '}' || data[2] == 0x95);
}

const char *kind_of_bytes(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < ARRAY_SIZE(magics); i++)
		if (size >= magics[i].at + magics[i].size && memcmp(data + magics[i].at, magics[i].bytes, magics[i].size) == 0)
			return magics[i].name;
	return is_python_dictionary(data, size) ? "a Python pickle" : NULL;
}

/* --- telling --- */

__attribute__((format(printf, 2, 3)))
static void append(char text[KINDS_TEXT], const char *fmt, ...)
{
	size_t n = strlen(text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + n, KINDS_TEXT - n, fmt, ap);
	va_end(ap);
}

static void tell_advice(char text[KINDS_TEXT], enum advice advice, const int counts[FILE_KINDS])
{
	const struct kind *most = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (kinds[i].advice != advice || !counts[i])
			continue;
		append(text, "%s%d %s", *text ? ", " : "", counts[i], kinds[i].name);
		if (!most || counts[i] > counts[most - kinds])
			most = &kinds[i];
	}
	if (!most)
		return;
	append(text, " (%.*s%s)", (int)strcspn(advices[advice], "%"), advices[advice],
	       strchr(advices[advice], '%') ? most->extensions[0] : "");
}

void kinds_forget_classes(int counts[FILE_KINDS])
{
	counts[CLASSES] = 0;
}

bool kinds_tell(char text[KINDS_TEXT], const int counts[FILE_KINDS])
{
	text[0] = '\0';
	for (int a = 0; a < ADVICES; a++)
		tell_advice(text, a, counts);
	return *text;
}
