#include "lib/stream/endpoint.h"

#include "lib/base/base.h"

#include <dirent.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FOLDER "sprat-wire-"
enum { YOUNG = 60 }; /* seconds: a younger folder may be about to be locked */

/* --- folders --- */

static void remove_folder(const char *folder)
{
	char path[128];

	snprintf(path, sizeof(path), "%.100s/s", folder);
	unlink(path);
	rmdir(folder);
}

/* A folder of ours whose lock nobody holds: its server was killed. */
static bool is_dead(const char *folder)
{
	struct stat st;
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	bool dead = fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() && time(NULL) - st.st_mtime > YOUNG &&
		    flock(fd, LOCK_EX | LOCK_NB) == 0;

	if (fd >= 0)
		close(fd);
	return dead;
}

static void remove_dead(const char *parent)
{
	DIR *dir = opendir(parent);
	struct dirent *entry;
	char folder[100];

	while (dir && (entry = readdir(dir)))
		if (strncmp(entry->d_name, FOLDER, strlen(FOLDER)) == 0 &&
		    format(folder, sizeof(folder), "%s/%s", parent, entry->d_name) == 0 && is_dead(folder))
			remove_folder(folder);
	if (dir)
		closedir(dir);
}

/* A unix socket's path may have 107 bytes: take the first folder that is short enough. */
static int choose_folder(struct endpoint *e)
{
	const char *parents[] = { getenv("XDG_RUNTIME_DIR"), getenv("TMPDIR"), "/tmp" };

	for (size_t i = 0; i < ARRAY_SIZE(parents); i++) {
		if (!parents[i] || parents[i][0] != '/' ||
		    format(e->folder, sizeof(e->folder), "%s/" FOLDER "XXXXXX", parents[i]) < 0)
			continue;
		remove_dead(parents[i]);
		if (!mkdtemp(e->folder))
			continue;
		e->lock = open(e->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (e->lock >= 0)
			flock(e->lock, LOCK_EX | LOCK_NB);
		snprintf(e->bind, sizeof(e->bind), "ipc://%s/s", e->folder);
		return 0;
	}
	e->folder[0] = '\0';
	return fail("unable to make a folder for a socket below XDG_RUNTIME_DIR, TMPDIR or /tmp:");
}

void endpoint_release(struct endpoint *e)
{
	if (e->folder[0])
		remove_folder(e->folder);
	if (e->lock >= 0)
		close(e->lock);
	e->folder[0] = '\0';
	e->lock = -1;
}

/* --- addresses --- */

/* Third word of SSH_CONNECTION: the address of this host by which the session came. */
static int ssh_address(char *address, size_t size)
{
	const char *text = getenv("SSH_CONNECTION");
	char word[101];

	return text && sscanf(text, "%*s %*s %100s", word) == 1 ? format(address, size, "%s", word) : -1;
}

static bool is_public(const struct ifaddrs *a, int family)
{
	if (!a->ifa_addr || a->ifa_addr->sa_family != family || (a->ifa_flags & IFF_LOOPBACK) || !(a->ifa_flags & IFF_UP) ||
	    !(a->ifa_flags & IFF_RUNNING))
		return false;
	return family == AF_INET || !IN6_IS_ADDR_LINKLOCAL(&((struct sockaddr_in6 *)a->ifa_addr)->sin6_addr);
}

/* The first interface's. */
static int own_address(int family, char *address, size_t size)
{
	socklen_t length = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	struct ifaddrs *all = NULL;
	int result = -1;

	if (getifaddrs(&all) < 0)
		return -1;
	for (struct ifaddrs *a = all; a && result < 0; a = a->ifa_next)
		if (is_public(a, family) && getnameinfo(a->ifa_addr, length, address, size, NULL, 0, NI_NUMERICHOST) == 0)
			result = 0;
	freeifaddrs(all);
	return result;
}

/* What is bound to all addresses of IPv6 also takes IPv4, not the other way round. */
static int find_address(bool six, char *address, size_t size)
{
	if (ssh_address(address, size) == 0 && (six || !strchr(address, ':')))
		return 0;
	if (own_address(AF_INET, address, size) == 0)
		return 0;
	return six ? own_address(AF_INET6, address, size) : -1;
}

static void put_address(char endpoint[ENDPOINT_MAX], const char *address, const char *port)
{
	snprintf(endpoint, ENDPOINT_MAX, strchr(address, ':') ? "tcp://[%s]:%s" : "tcp://%s:%s", address, port);
}

int endpoint_publish(char endpoint[ENDPOINT_MAX])
{
	bool four = strncmp(endpoint, "tcp://0.0.0.0:", 14) == 0, six = strncmp(endpoint, "tcp://[::]:", 11) == 0;
	char address[128], port[16];

	if (!four && !six)
		return 0;
	snprintf(port, sizeof(port), "%s", strrchr(endpoint, ':') + 1);
	if (find_address(six, address, sizeof(address)) < 0)
		return fail_code(EXIT_USAGE,
				 "unable to tell by which address other hosts reach this one: give it, as in --bind "
				 "tcp://ADDRESS:%s",
				 port);
	put_address(endpoint, address, port);
	note("serving at all addresses of this host; the ticket names %s: where that is not the right one, give --bind "
	     "tcp://ADDRESS:%s",
	     address, port);
	return 0;
}

int endpoint_choose(struct endpoint *e, const char *where)
{
	char address[128] = "127.0.0.1";

	*e = (struct endpoint){ .lock = -1 };
	if (!*where && !getenv("SSH_CONNECTION"))
		return choose_folder(e);
	if (!*where) {
		ssh_address(address, sizeof(address));
		put_address(e->bind, address, "*");
		return 0;
	}
	if (strncmp(where, "tcp://", 6) != 0 && strncmp(where, "ipc://", 6) != 0)
		return fail_code(EXIT_USAGE, "unable to bind '%s': write tcp://HOST:PORT (PORT may be *) or ipc://PATH", where);
	if (format(e->bind, sizeof(e->bind), "%s", where) < 0)
		return fail_code(EXIT_USAGE, "unable to bind '%.40s...': it is too long", where);
	return 0;
}
